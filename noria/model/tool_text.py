"""Tools as text: the lines a model reads, the calls it writes, and the calls read back.

A tool is one line, `name(arg:type, arg?:a|b) description`; a call is compact JSON with one key, `{"name":{"arg":value,"other":null}}`: all
arguments in the order of the schema, an optional one that is not given as null, so that a model decides one argument at a time. Models
trained on tagged calls (`<tool_call>{"name": ..., "arguments": ...}</tool_call>`) are read as well.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from noria.schema import ToolCall, ToolSpec, new_id

CALL_BEGINS = ("{", "<tool_call>", "[TOOL_CALLS]", "<|python_tag|>")
"""How the text of a tool call begins, in our rendering and in those of models with a template of their own."""
_SHORT = {"string": "str", "integer": "int", "number": "num", "boolean": "bool", "null": "null", "object": "object"}
_SHORT_FORMATS = {"date": "date", "time": "time", "date-time": "datetime"}
_TAGGED_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def tools_block(tools: Sequence[ToolSpec]) -> str:
    """The lines that tell a model its tools."""
    return "\n".join(("Tools:", *(describe_tool(tool) for tool in tools)))


def describe_tool(tool: ToolSpec) -> str:
    arguments = _describe_properties(tool.parameters, tool.parameters)
    return f"{tool.name}({arguments}) {' '.join(tool.description.split())}".rstrip()


def call_json(name: str, arguments: Mapping[str, Any], tools: Sequence[ToolSpec]) -> str:
    """One call as the local format writes it."""
    schema = next((tool.parameters for tool in tools if tool.name == name), {})
    written = dict.fromkeys(optional_arguments(schema)) | dict(arguments)
    return json.dumps({name: in_schema_order(written, schema, schema)}, ensure_ascii=False, separators=(",", ":"))


def optional_arguments(parameters: Mapping[str, Any]) -> list[str]:
    """Names of a tool's arguments that a call may leave out."""
    required: set[str] = set(parameters.get("required") or ())
    return [name for name in parameters.get("properties") or {} if name not in required]


def written_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a call's arguments as the local format writes them: all of them, the optional ones perhaps null."""
    optional = {name: {"anyOf": [parameters["properties"][name], {"type": "null"}]} for name in optional_arguments(parameters)}
    if not optional:
        return dict(parameters)
    properties = {**parameters["properties"], **optional}
    return {**parameters, "properties": properties, "required": list(properties)}


def in_schema_order(value: Any, schema: Any, root: Any) -> Any:
    """The value with the keys of its objects in the order of the schema; keys the schema does not know come last."""
    schema = resolve_reference(schema, root)
    if isinstance(value, Mapping):
        properties: Mapping[str, Any] = schema.get("properties") or {}
        keys = [k for k in properties if k in value] + [k for k in value if k not in properties]
        return {k: in_schema_order(value[k], properties.get(k, {}), root) for k in keys}
    if isinstance(value, list | tuple):
        return [in_schema_order(item, schema.get("items") or {}, root) for item in value]
    return value


def resolve_reference(schema: Any, root: Any) -> dict[str, Any]:
    """The schema a `$ref` into the same document stands for; an unknown one allows everything."""
    for _ in range(16):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            schema = schema.get(part, {}) if isinstance(schema, dict) else {}
    return {}


def parse_calls(text: str, tools: Sequence[ToolSpec]) -> tuple[ToolCall, ...]:
    """The calls a text consists of, with new ids; empty if it is a reply. A call of an unknown tool is text.

    An optional argument that is null is not given.
    """
    optional = {tool.name: optional_arguments(tool.parameters) for tool in tools}
    if not optional:
        return ()
    tagged = _TAGGED_CALL.findall(text)
    pieces = tagged or ([line for line in text.strip().split("\n") if line.strip()] if text.lstrip().startswith("{") else [])
    calls = [_read_call(piece, optional) for piece in pieces]
    return () if any(call is None for call in calls) else tuple(call for call in calls if call is not None)


def _read_call(text: str, optional: Mapping[str, Sequence[str]]) -> ToolCall | None:
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    if len(data) == 1:
        (name, arguments) = next(iter(data.items()))
    else:
        name, arguments = data.get("name"), data.get("arguments", data.get("parameters", {}))
    if not isinstance(name, str) or name not in optional or not isinstance(arguments, dict):
        return None
    given = {argument: value for argument, value in arguments.items() if value is not None or argument not in optional[name]}
    return ToolCall(id=new_id("call"), name=name, arguments=given)


def _describe_properties(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> str:
    required: set[str] = set(schema.get("required") or ())
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return ", ".join(f"{name}{'' if name in required else '?'}:{_describe_type(part, root, depth)}" for name, part in properties.items())


def _describe_type(schema: Any, root: Mapping[str, Any], depth: int) -> str:
    schema = resolve_reference(schema, root)
    if "const" in schema:
        return _literal(schema["const"])
    if schema.get("enum"):
        return _describe_choices([_literal(value) for value in schema["enum"]])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return "|".join(dict.fromkeys(_describe_type(choice, root, depth) for choice in choices))
    kind = schema.get("type", "string" if "format" in schema else None)
    if isinstance(kind, list):
        return "|".join(_describe_type({**schema, "type": k}, root, depth) for k in kind)
    if kind == "array":
        return f"[{_describe_type(schema.get('items') or {}, root, depth)}]"
    if (kind == "object" or "properties" in schema) and schema.get("properties") and depth < 8:
        return "{" + _describe_properties(schema, root, depth + 1) + "}"
    if kind == "string":
        return _SHORT_FORMATS.get(schema.get("format", ""), "str")
    return _SHORT.get(str(kind), "any")


def _describe_choices(choices: list[str]) -> str:
    """`a|b|c`; four or more consecutive numbers are a range, `1..9`: every token of a tool's line is read again in every conversation."""
    if len(choices) >= 4 and all(re.fullmatch(r"\d{1,9}", choice) for choice in choices):
        numbers = [int(choice) for choice in choices]
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return f"{numbers[0]}..{numbers[-1]}"
    return "|".join(choices)


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
