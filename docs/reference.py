"""Reference texts for `build.py`, made from the code itself: configuration tables, command help, HTTP routes."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parent.parent
OF_COMMANDS = {
    "BuildConfig": "noria data build --set",
    "PretrainConfig": "noria pretrain --set",
    "RaceConfig": "noria tune --method best --set",
    "TaskConfig": "noria tune --set",
    "UntrainedConfig": "noria tune --method prompting --set",
}
"""Settings that are no section of `noria.toml`: the command that takes them."""


def config_table(argument: str) -> str:
    """A table of the fields of one configuration class, named as `noria.agent:AgentConfig`."""
    rows = [
        f"| `{field}` | {type_text(info.annotation)} | {default_text(info)} | {cell(info.description or '')} |"
        for field, info in model_of(argument).model_fields.items()
    ]
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def model_of(argument: str) -> type[BaseModel]:
    module, _, name = argument.partition(":")
    return getattr(importlib.import_module(module), name)


def configuration_page() -> str:
    """The tables of all sections of `noria.toml`, in the order of the folders that own them."""
    parts = [
        "# Configuration",
        "",
        "The sections of `noria.toml`, and what commands take with `--set`, made from the code by `make docs`.",
        "A command's option wins over the file, the file over the default.",
        "",
    ]
    names = {name: f"[{section}]" for name, section in section_names().items()} | OF_COMMANDS
    for module, name, docstring in section_classes():
        parts += [f"## `{names[name]}`", "", f"{cell(docstring)} (`{module}.{name}`)", "", config_table(f"{module}:{name}")]
    return "\n".join(parts).rstrip() + "\n"


def section_names() -> dict[str, str]:
    """Class to the table of `noria.toml` it reads, from the calls of `Project.section`."""
    calls = re.compile(r"section\(\s*\"(\w+)\",\s*(\w+)")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "noria").rglob("*.py")]
    return {name: section for source in sources for section, name in calls.findall(source)}


def section_classes() -> Iterator[tuple[str, str, str]]:
    """Module, name and docstring of every direct subclass of `Section`, found in the source."""
    order = next(line for line in (ROOT / "noria/__init__.py").read_text(encoding="utf-8").splitlines() if line.startswith("schema,"))
    paths = sorted((ROOT / "noria").rglob("*.py"), key=lambda p: (order.find(f"{p.relative_to(ROOT).parts[1]},"), str(p)))
    for path in paths:
        if "templates" in path.parts or "testing" in path.parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == "Section" for base in node.bases):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                yield module.removesuffix(".__init__"), node.name, (ast.get_docstring(node) or "").split("\n\n")[0]


def type_text(annotation: Any) -> str:
    """`int`, `text`, `a or b`: as a person writes it in TOML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is Union or (origin is not None and origin.__name__ == "UnionType"):
        return " or ".join(type_text(argument) for argument in arguments if argument is not type(None))
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_text(arguments[0])}" if arguments else "list"
    if origin is dict:
        return "table"
    if origin is not None:
        return type_text(arguments[0])
    return {str: "text", int: "int", float: "number", bool: "true or false"}.get(annotation, cell(getattr(annotation, "__name__", str(annotation))))


def default_text(info: FieldInfo) -> str:
    if info.is_required():
        return "(needed)"
    value = info.default if info.default is not PydanticUndefined else info.get_default(call_default_factory=True)  # type: ignore[call-arg]
    if value is None:
        return "(off or derived)"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{cell(str(list(value) if isinstance(value, tuple) else value))}`" if value != "" else '`""`'


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands_page() -> str:
    """Every command with its arguments and options, from the command line itself."""
    import typer

    root = typer.main.get_command(importlib.import_module("noria.cli.main").app)
    parts = ["# Commands", "", "Made from the command line by `make docs`. Every command answers `--help`.", ""]
    parts += command_parts(root, "noria")
    return "\n".join(parts).rstrip() + "\n"


def command_parts(command: Any, path: str) -> list[str]:
    parts: list[str] = []
    subcommands = getattr(command, "commands", {})
    if not subcommands or path.count(" "):
        parts += [f"## {path}" if path.count(" ") < 2 else f"### {path}", "", inspect.cleandoc(command.help or ""), ""]
    rows = [row for parameter in command.params if (row := parameter_row(parameter))]
    if rows and not (subcommands and not path.count(" ")):
        parts += ["| argument or option | default | meaning |", "|---|---|---|", *rows, ""]
    for name in command.list_commands(None) if subcommands else ():
        if not subcommands[name].hidden:
            parts += command_parts(subcommands[name], f"{path} {name}")
    return parts


def parameter_row(parameter: Any) -> str | None:
    if getattr(parameter, "hidden", False) or parameter.name == "help":
        return None
    if parameter.param_type_name == "argument":
        name = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default if not callable(parameter.default) else None
    shown = "(needed)" if parameter.required else "" if default in (None, False, (), []) or "Sentinel" in repr(default) else f"`{cell(str(default))}`"
    return f"| {name} | {shown} | {cell(getattr(parameter, 'help', None) or '')} |"


def routes_table(_: str) -> str:
    """Method, path and body of every route, from the application's OpenAPI document."""
    from noria.serve import ServeConfig, create_app

    document = create_app(cast(Any, SimpleNamespace(config=ServeConfig()))).openapi()
    rows = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            body = schema.get("$ref", "").rpartition("/")[2]
            rows.append(f"| {method.upper()} | `{path}` | {f'`{body}`' if body else ''} |")
    return "\n".join(["| method | path | body |", "|---|---|---|", *rows]) + "\n"


def fields_table(argument: str) -> str:
    """Field, type and default of a request body, named as `noria.serve.wire:ChatBody`."""
    rows = [f"| `{field}` | {type_text(info.annotation)} | {default_text(info)} |" for field, info in model_of(argument).model_fields.items()]
    return "\n".join(["| field | type | default |", "|---|---|---|", *rows]) + "\n"
