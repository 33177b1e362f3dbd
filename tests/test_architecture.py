"""The rules of the code base, read from its source: who may import whom, sizes, names, docstrings, and what a start of `noria` loads."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "noria"
LAYERS = (
    "schema",
    "store",
    "data",
    "model",
    "engine",
    "train",
    "align",
    "compress",
    "evaluate",
    "knowledge",
    "agent",
    "serve",
    "feedback",
    "lifecycle",
    "cli",
)
BELOW_ALL = ("errors", "config")
NOT_IMPORTED = ("testing", "templates", "studio")
REFUSED_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
COMMAND_LAYERS = {
    "data": "data",
    "pretrain": "train",
    "tune": "train",
    "align": "align",
    "compress": "compress",
    "evaluate": "evaluate",
    "predict": "evaluate",
    "knowledge": "knowledge",
    "serve": "serve",
    "chat": "serve",
    "feedback": "feedback",
    "improve": "lifecycle",
    "release": "lifecycle",
}
COMMANDS_OF_NO_LAYER = {"new", "demo", "audit", "doctor"}
"""Commands that use every layer, or none, and so stand where a reader looks for them."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def sources(*folders: str) -> list[Path]:
    """Python files below these folders; hidden folders (rivals' environments) are not ours."""
    found: list[Path] = []
    for folder in folders:
        for parent, names, files in os.walk(ROOT / folder):
            names[:] = sorted(name for name in names if not name.startswith("."))
            found += [Path(parent) / name for name in sorted(files) if name.endswith(".py")]
    return found


def layer_of(path: Path) -> str:
    """`store` for noria/store/sql.py; `noria` for noria/__init__.py; `errors` for noria/errors.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "noria" if parts[0] == "__init__" else parts[0]


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Every absolute module a file imports, wherever the import stands: top level, functions, TYPE_CHECKING."""
    package = ("noria", *path.relative_to(PACKAGE).parts[:-1]) if path.is_relative_to(PACKAGE) else ()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from noria import agent` imports noria.agent.
            yield from ((f"noria.{alias.name}", node.lineno) for alias in node.names if module == "noria")
            yield module, node.lineno


def allowed_layers(layer: str) -> set[str]:
    if layer in ("errors", "noria"):
        return set()
    if layer == "config":
        return {"errors"}
    if layer in NOT_IMPORTED:
        return {*BELOW_ALL, *LAYERS, layer}
    if layer == "cli":
        return {*BELOW_ALL, *LAYERS, "templates"}
    return {*BELOW_ALL, *LAYERS[: LAYERS.index(layer) + 1]}


def test_imports_point_one_way() -> None:
    wrong = []
    for path in sources("noria"):
        layer = layer_of(path)
        for module, line in imported_modules(path):
            parts = module.split(".")
            if parts[0] != "noria" or len(parts) == 1 or parts[1] == "__version__":
                continue
            if parts[1] not in allowed_layers(layer):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: `{layer}` may not import `{parts[1]}`")
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_its_place() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert folders <= {*LAYERS, *NOT_IMPORTED}
    assert modules <= set(BELOW_ALL)


def test_order_is_the_same_in_the_package_docstring() -> None:
    docstring = ast.get_docstring(tree(PACKAGE / "__init__.py")) or ""
    listed = next(line for line in docstring.splitlines() if line.startswith("schema,"))
    assert tuple(name.strip(" .") for name in listed.split(",")) == LAYERS


def test_order_is_the_same_in_the_command_list() -> None:
    pytest.importorskip("noria.cli.main", reason="the command line is not there yet")
    result = subprocess.run([sys.executable, "-m", "noria.cli.main", "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    known = COMMAND_LAYERS.keys() | COMMANDS_OF_NO_LAYER
    commands = [match[1] for line in result.stdout.splitlines() if (match := re.match(r"^[\s│|]+([a-z]+)\s{2,}\S", line)) and match[1] in known]
    assert commands, result.stdout
    ranks = [LAYERS.index(COMMAND_LAYERS[name]) for name in commands if name in COMMAND_LAYERS]
    assert ranks == sorted(ranks), f"`noria --help` lists {commands}; the order of the folders is {LAYERS}"


def exceptions() -> dict[str, dict[str, str]]:
    return tomllib.loads((ROOT / "tests/architecture_exceptions.toml").read_text(encoding="utf-8"))


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Qualified name and number of lines of each function, decorators not counted."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or 0) - child.lineno + 1
            yield from functions(child, f"{name}.")
        else:
            yield from functions(child, prefix)


def test_files_are_at_most_500_lines() -> None:
    paths = [*sources("noria", "tests", "benchmarks", "docs", "requirements"), *PACKAGE.joinpath("studio").rglob("*.[jc]s*")]
    long = {str(p.relative_to(ROOT)): n for p in paths if (n := len(p.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES}
    excused = exceptions()["files"]
    assert set(long) == set(excused), f"over {MAX_FILE_LINES} lines: {long}; excused: {sorted(excused)}"


def test_functions_are_at_most_80_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}::{name}": lines
        for path in sources("noria", "tests", "benchmarks", "docs", "requirements")
        for name, lines in functions(tree(path))
        if lines > MAX_FUNCTION_LINES
    }
    excused = exceptions()["functions"]
    assert set(long) == set(excused), f"over {MAX_FUNCTION_LINES} lines: {long}; excused: {sorted(excused)}"


def test_every_exception_says_why() -> None:
    assert all(len(reason) > 20 for table in exceptions().values() for reason in table.values())


def test_no_folder_or_module_without_a_noun() -> None:
    named = [p for p in (*PACKAGE.rglob("*"), *(ROOT / "tests").rglob("*"), *(ROOT / "benchmarks").glob("*")) if "__pycache__" not in p.parts]
    assert not [str(p.relative_to(ROOT)) for p in named if p.stem in REFUSED_NAMES and (p.is_dir() or p.suffix == ".py")]


def is_overload(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def definition(path: Path, name: str) -> ast.AST | None:
    """Where `name` is defined, following `from noria... import name`."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name and not is_overload(node):
            return node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("noria."):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    target = ROOT.joinpath(*(node.module or "").split("."))
                    file = target / "__init__.py" if target.is_dir() else target.with_suffix(".py")
                    return definition(file, alias.name)
    return None


def exported(path: Path) -> list[str]:
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def test_exported_names_exist_and_have_a_docstring() -> None:
    bare = []
    for path in PACKAGE.rglob("__init__.py"):
        names = exported(path)
        assert len(names) == len(set(names)), f"{path}: a name stands twice in __all__"
        for name in names:
            node = definition(path, name)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not ast.get_docstring(node):
                bare.append(f"{path.relative_to(ROOT)}: `{name}` has no docstring")
    assert not bare, "\n".join(bare)


def test_every_module_has_a_docstring() -> None:
    paths = [p for p in sources("noria", "benchmarks", "docs", "requirements") if p.read_text(encoding="utf-8").strip()]
    assert not [str(p.relative_to(ROOT)) for p in paths if not ast.get_docstring(tree(p))]


def test_every_imported_library_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    declared = {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in lines}
    owners = packages_distributions()
    missing = set()
    for path in sources("noria"):
        for module, line in imported_modules(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in ("noria", "__future__", ""):
                continue
            names = {name.lower().replace("_", "-") for name in owners.get(top, [top])}
            # openvino comes with openvino-genai, huggingface_hub with transformers, starlette with fastapi.
            if not names & (declared | {"openvino", "openvino-tokenizers", "huggingface-hub", "starlette", "click"}):
                missing.add(f"{path.relative_to(ROOT)}:{line}: `{top}` is not declared in pyproject.toml")
    assert not missing, "\n".join(sorted(missing))


def test_starting_the_command_line_loads_no_model_library() -> None:
    pytest.importorskip("noria.cli.main", reason="the command line is not there yet")
    code = "import sys, noria.cli.main; print(sorted({'torch','transformers','openvino','openvino_genai','spacy','scipy'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
