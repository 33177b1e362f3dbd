"""From a plain typed function to the schema of a tool.

In: a function with annotations and a Google-style docstring. Out: a JSON Schema of type object (flat, no `$ref`) and a checker that turns
JSON arguments into what the function takes. What cannot be told to a model is a `ConfigError` naming file, line, function and what is allowed.
"""

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from noria.errors import ConfigError, ToolRetry

ALLOWED = "str, int, float, bool, Literal, Enum, date, time, datetime, list, Optional, a dataclass, a TypedDict or a pydantic model"
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?):\s*$")
_ARGUMENT = re.compile(r"^\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?:\s*(?P<text>.*)$")


@dataclass(frozen=True)
class Parameter:
    """One argument the model may give."""

    name: str
    required: bool
    schema: dict[str, Any]
    adapter: TypeAdapter[Any]

    @property
    def allowed(self) -> str:
        """What a value may be, for people and models."""
        return describe(self.schema)


@dataclass(frozen=True)
class Signature:
    """What a tool's function takes and what it is for."""

    description: str
    parameters: tuple[Parameter, ...]
    context_name: str | None
    """The parameter that receives the `ToolContext`; hidden from the model."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, in the order of the function."""
        return {
            "type": "object",
            "properties": {p.name: p.schema for p in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
            "additionalProperties": False,
        }

    def checked(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Python values for JSON `arguments`. Raises ToolRetry naming argument, value and what is allowed."""
        known = {p.name: p for p in self.parameters}
        for name in arguments:
            if name not in known:
                raise ToolRetry(f"`{tool}` has no argument `{name}`; its arguments are: {', '.join(known) or 'none'}.")
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name not in arguments:
                if parameter.required:
                    raise ToolRetry(f"Argument `{parameter.name}` of `{tool}` is missing; it must be {parameter.allowed}.")
                continue
            given = arguments[parameter.name]
            if given is None and not parameter.required:
                continue  # the model said "nothing", the function's default says what that means
            try:
                values[parameter.name] = parameter.adapter.validate_python(given)
            except ValidationError as error:
                place = ".".join(
                    [parameter.name, *(str(part) for part in error.errors()[0]["loc"] if not str(part).startswith(("function-", "nullable")))]
                )
                raise ToolRetry(f"Argument `{place}` of `{tool}` is {given!r:.80}; it must be {parameter.allowed}.") from error
        return values


def read_signature(function: Callable[..., Any], context_type: type) -> Signature:
    """Schema and checker of `function`; the parameter annotated `context_type` is injected, not shown. Raises ConfigError."""
    where = f"{inspect.getsourcefile(function) or '?'}:{function.__code__.co_firstlineno}: tool `{function.__name__}`"
    docstring = inspect.getdoc(function)
    if not docstring or not docstring.strip():
        raise ConfigError(f"{where} has no docstring; its first line tells the model what the tool is for. Write one.")
    description, told = read_docstring(docstring)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ConfigError(f"{where} has an annotation that cannot be read: {error}. Allowed: {ALLOWED}.") from error
    parameters: list[Parameter] = []
    context_name: str | None = None
    for name, raw in inspect.signature(function).parameters.items():
        if raw.kind in (raw.VAR_POSITIONAL, raw.VAR_KEYWORD, raw.POSITIONAL_ONLY):
            raise ConfigError(f"{where} takes `{raw}`; a model can only give arguments by name. Name each one and annotate it.")
        if name not in hints:
            raise ConfigError(f"{where}: argument `{name}` has no annotation. Allowed: {ALLOWED}.")
        if hints[name] is context_type:
            context_name = name
            continue
        parameters.append(_parameter(name, raw, hints[name], told.get(name, ""), where))
    unknown = sorted(set(told) - {p.name for p in parameters} - {context_name})
    if unknown:
        raise ConfigError(
            f"{where}: its docstring describes `{unknown[0]}`, which is no argument. Arguments: {', '.join(p.name for p in parameters)}."
        )
    return Signature(description=description, parameters=tuple(parameters), context_name=context_name)


def read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, on one line, and the description of each argument under `Args:`."""
    intro: list[str] = []
    told: dict[str, str] = {}
    section, current = "", ""
    for line in docstring.splitlines():
        if heading := _SECTION.match(line.strip()):
            section = heading[1]
        elif not section:
            intro.append(line.strip())
        elif section in ("Args", "Arguments", "Parameters") and line.strip():
            found = _ARGUMENT.match(line.strip())
            if found and len(line) - len(line.lstrip()) <= 4:
                current = found["name"]
                told[current] = found["text"]
            elif current:
                told[current] = f"{told[current]} {line.strip()}".strip()
    return " ".join(part for part in intro if part), told


def _parameter(name: str, raw: inspect.Parameter, annotation: Any, description: str, where: str) -> Parameter:
    kind, optional = _without_none(annotation)
    required = raw.default is inspect.Parameter.empty and not optional
    try:
        config = None if _has_own_config(kind) else ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=config)
        schema = _flat(TypeAdapter(kind, config=config).json_schema())
    except (PydanticSchemaGenerationError, PydanticUserError, PydanticInvalidForJsonSchema, TypeError, RecursionError) as error:
        why = f" ({error.message})" if isinstance(error, PydanticUserError) and error.code == "typed-dict-version" else ""
        raise ConfigError(f"{where}: argument `{name}` is annotated `{annotation}`, which no model can fill in{why}. Allowed: {ALLOWED}.") from error
    if kind is Any or not schema:
        raise ConfigError(f"{where}: argument `{name}` is annotated `{annotation}`, which no model can fill in. Allowed: {ALLOWED}.")
    if description:
        schema["description"] = description
    if raw.default is not inspect.Parameter.empty and raw.default is not None:
        schema["default"] = raw.default.value if isinstance(raw.default, Enum) else adapter.dump_python(raw.default, mode="json")
    return Parameter(name=name, required=required, schema=schema, adapter=adapter)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """`X | None` as (X, True); everything else as (annotation, False)."""
    if get_origin(annotation) in (Union, UnionType):
        rest = tuple(a for a in get_args(annotation) if a is not NoneType)
        if len(rest) < len(get_args(annotation)):
            return (rest[0] if len(rest) == 1 else Union[rest]), True  # noqa: UP007  (made at run time)
    return annotation, False


def _has_own_config(kind: Any) -> bool:
    """Pydantic refuses a second configuration for types that carry one."""
    return any(hasattr(kind, name) for name in ("__pydantic_config__", "model_config", "__dataclass_fields__", "__total__"))


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without `$ref` and titles: small models and grammars read it as it stands."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any, depth: int) -> Any:
        if depth > 12:
            raise RecursionError("a type that contains itself")
        if isinstance(node, list):
            return [resolve(item, depth) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        properties = node.get("properties")
        out = {k: resolve(v, depth + 1) for k, v in node.items() if k not in ("title", "properties") and not (k == "description" and "enum" in node)}
        if properties is not None:
            out["properties"] = {k: resolve(v, depth + 1) for k, v in properties.items()}
        return out

    return resolve(schema, 0)


def describe(schema: Mapping[str, Any]) -> str:
    """What a JSON Schema allows, as a part of a sentence."""
    if "enum" in schema:
        return "one of " + ", ".join(repr(value) for value in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    if "anyOf" in schema:
        return " or ".join(describe(part) for part in schema["anyOf"])
    formats = {"date": "a date as 2026-03-04", "time": "a time as 18:30", "date-time": "a date and time as 2026-03-04T18:30"}
    if schema.get("format") in formats:
        return formats[schema["format"]]
    kind = schema.get("type")
    if kind == "array":
        return f"a list, each {describe(schema.get('items', {}))}"
    if kind == "object":
        return "an object with " + (", ".join(f"`{name}`" for name in schema.get("properties", {})) or "any fields")
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text", "null": "nothing"}
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema]
    return " ".join([names.get(str(kind), "a value"), " and ".join(limits)]).strip()
