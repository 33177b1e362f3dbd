"""Grammars that keep a model to a JSON Schema or to its tools, in the EBNF that OpenVINO GenAI and xgrammar read alike.

In: a schema or tools. Out: grammar text. JSON is written compactly: small models lose themselves in white space where a grammar allows it.
Enforced: types, enum, const, required and declared properties in the order of the schema, nesting, references, lengths, numbers of items,
ranges of integers, `format` date, time and date-time, anyOf. Not enforced here, so the caller validates them: `pattern`, ranges of
numbers, `uniqueItems`, `not`, other formats.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from noria.engine.integer_range import integer_range
from noria.errors import DataError
from noria.model.render import CallFormat
from noria.model.tool_text import resolve_reference, written_parameters
from noria.schema import ToolSpec, canonical_json

ToolChoice = Literal["auto", "required", "none"]

_COMMON = r"""
string ::= "\"" char* "\""
char ::= [^"\\\x00-\x1F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
integer ::= "-"? ("0" | [1-9] [0-9]{0,17})
number ::= integer ("." [0-9]{1,17})? ([eE] [-+]? [0-9]{1,3})?
boolean ::= "true" | "false"
null ::= "null"
any ::= string | number | boolean | null | anyobject | anyarray
anyobject ::= "{" (string ":" any ("," string ":" any)*)? "}"
anyarray ::= "[" (any ("," any)*)? "]"
day ::= [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])
clock ::= ([0-1] [0-9] | "2" [0-3]) ":" [0-5] [0-9]
date ::= "\"" day "\""
time ::= "\"" clock (":" [0-5] [0-9])? "\""
datetime ::= "\"" day "T" clock (":" [0-5] [0-9])? ("Z" | [-+] clock)? "\""
"""
_FORMATS = {"date": "date", "time": "time", "date-time": "datetime"}
_FIRST_OF_TEXT = {"single_key": r"[^{ \t\r\n]", "tagged": r"[^<{ \t\r\n]"}


def schema_grammar(schema: Mapping[str, Any]) -> str:
    """The grammar of all compact JSON texts that satisfy the schema. Raises DataError for a schema nothing can satisfy."""
    return _schema_grammar(canonical_order(schema))


def decision_grammar(tools: Sequence[ToolSpec], choice: ToolChoice = "auto", call_format: CallFormat = "single_key") -> str:
    """The grammar of one decision: a call of one of the tools, or a reply that cannot be mistaken for a call."""
    return _decision_grammar(tuple((tool.name, canonical_order(tool.parameters)) for tool in tools), choice, call_format)


def canonical_order(schema: Mapping[str, Any]) -> str:
    """A hashable form of the schema that keeps the order of its properties."""
    return json.dumps(schema, ensure_ascii=False)


@lru_cache(maxsize=256)
def _schema_grammar(schema_json: str) -> str:
    schema = json.loads(schema_json)
    rules = _Rules(schema)
    return rules.text(rules.value(schema))


@lru_cache(maxsize=256)
def _decision_grammar(tools: tuple[tuple[str, str], ...], choice: ToolChoice, call_format: CallFormat) -> str:
    if choice == "required" and not tools:
        raise DataError("`tool_choice` is 'required', but no tools are given.")
    rules = _Rules({})
    calls = [] if choice == "none" else [_call(rules, name, json.loads(parameters), call_format) for name, parameters in tools]
    alternatives = list(calls)
    if choice != "required":
        alternatives.append(rules.define("text", rf"{_FIRST_OF_TEXT[call_format]} [\u0000-\U0010FFFF]*"))
    return rules.text(" | ".join(alternatives))


def _call(rules: "_Rules", name: str, parameters: Mapping[str, Any], call_format: CallFormat) -> str:
    written = dict(parameters) if call_format == "tagged" else written_parameters(parameters)
    arguments = rules.within(parameters).value({"type": "object", "properties": {}, "additionalProperties": False} | written)
    if call_format == "tagged":
        before, after = f'<tool_call>\n{{"name": {_json(name)}, "arguments": ', "}\n</tool_call>"
    else:
        before, after = f"{{{_json(name)}:", "}"
    return rules.define("call", f"{_literal(before)} {arguments} {_literal(after)}")


class _Rules:
    """Collects rules while a schema is walked; `root` is the document `$ref` points into."""

    def __init__(self, root: Mapping[str, Any], rules: dict[str, str] | None = None) -> None:
        self._root = root
        self._rules: dict[str, str] = {} if rules is None else rules
        self._references: dict[str, str] = {}

    def within(self, root: Mapping[str, Any]) -> "_Rules":
        """The same rules, for a schema that is a document of its own."""
        return _Rules(root, self._rules)

    def text(self, root: str) -> str:
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]
        return "\n".join(lines) + _COMMON

    def define(self, stem: str, body: str) -> str:
        name = f"{stem}_{len(self._rules)}"
        self._rules[name] = body
        return name

    def value(self, schema: Any) -> str:
        """An expression for one value; a rule name where it would be long or may refer to itself."""
        if schema is True or schema == {}:
            return "any"
        if not isinstance(schema, Mapping):
            raise DataError(f"A JSON Schema is an object, not {schema!r:.80}.")
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"])
        if "const" in schema:
            return _literal(_json(schema["const"]))
        if "enum" in schema:
            return self._choice([_literal(_json(value)) for value in schema["enum"]], schema)
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        if alternatives:
            return self._choice([self.value(part) for part in alternatives], schema)
        if schema.get("allOf"):
            return self.value(self._merged(schema))
        kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else None)
        if isinstance(kind, list):
            return self._choice([self.value({**schema, "type": k}) for k in kind], schema)
        return self._typed(kind, schema)

    def _typed(self, kind: str | None, schema: Mapping[str, Any]) -> str:
        match kind:
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return self._string(schema)
            case "integer":
                return integer_range(schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum"))
            case "number" | "boolean" | "null":
                return kind
            case None:
                return _FORMATS.get(schema.get("format", ""), "any")
            case _:
                raise DataError(f"JSON Schema `type` is {kind!r}; allowed: object, array, string, integer, number, boolean, null.")

    def _choice(self, alternatives: list[str], schema: Mapping[str, Any]) -> str:
        if not alternatives:
            raise DataError(f"A JSON Schema allows no value at all: {canonical_json(dict(schema)):.120}.")
        return alternatives[0] if len(alternatives) == 1 else f"({' | '.join(alternatives)})"

    def _reference(self, reference: str) -> str:
        if reference not in self._references:
            target = resolve_reference({"$ref": reference}, self._root)
            if not reference.startswith("#") or not (target or reference == "#"):
                raise DataError(f"JSON Schema `$ref` {reference!r} leads nowhere; only references into the same schema are allowed.")
            name = self.define("ref", "")  # taken before its body is made: the body may refer to it
            self._references[reference] = name
            self._rules[name] = self.value(target)
        return self._references[reference]

    def _merged(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for given in (*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"}):
            part = resolve_reference(given, self._root)
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged |= part
            merged |= {"properties": properties} if properties else {}
            merged |= {"required": required} if required else {}
        return merged

    def _string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if not least and most is None:
            return "string"
        return rf'"\"" char{_repeat(least, most)} "\""'

    def _array(self, schema: Mapping[str, Any]) -> str:
        if schema.get("prefixItems"):
            return self.define("tuple", ' "," '.join(self.value(part) for part in schema["prefixItems"]).join(('"[" ', ' "]"')))
        item = self.define("item", self.value(schema.get("items", {})))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[]"'
        more = f'("," {item}){_repeat(max(least - 1, 0), None if most is None else most - 1)}'
        filled = f"{item} {more}"
        return self.define("array", f'"[" {filled} "]"' if least else f'"[" ({filled})? "]"')

    def _object(self, schema: Mapping[str, Any]) -> str:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        if not properties:
            extra = schema.get("additionalProperties", True)
            if extra is False:
                return '"{}"'
            value = self.define("extra", self.value(extra))
            return self.define("object", f'"{{" (string ":" {value} ("," string ":" {value})*)? "}}"')
        required: set[str] = set(schema.get("required") or ())
        if not required <= set(properties):
            raise DataError(f"JSON Schema requires {sorted(required - set(properties))}, which `properties` does not describe.")
        pairs = [(f"{_literal(_json(name) + ':')} {self.value(part)}", name in required) for name, part in properties.items()]
        return self.define("object", f'"{{" {_members(pairs)} "}}"')


def _members(pairs: list[tuple[str, bool]]) -> str:
    """Members in order, commas between those that are there: the first one present has none before it."""
    alternatives: list[str] = []
    for at, (pair, needed) in enumerate(pairs):
        rest = [f'"," {p}' if n else f'("," {p})?' for p, n in pairs[at + 1 :]]
        alternatives.append(" ".join((pair, *rest)))
        if needed:
            return f"({' | '.join(alternatives)})"
    return f"({' | '.join(alternatives)})?"


def _repeat(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _literal(text: str) -> str:
    """A text as a quoted terminal; what is not printable ASCII is written as an escape."""
    out: list[str] = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.append(f"\\U{ord(char):08X}" if ord(char) > 0xFFFF else f"\\u{ord(char):04X}")
    return f'"{"".join(out)}"'
