"""Grammars accept exactly the compact JSON that satisfies the schema, and decisions that cannot be mistaken."""

import json
import re
from functools import cache

import pytest

from noria.engine.grammar import decision_grammar, schema_grammar
from noria.engine.integer_range import integer_range
from noria.errors import DataError
from noria.schema import ToolSpec

xgrammar = pytest.importorskip("xgrammar")


@cache
def compiler():
    vocabulary = [bytes([i]) for i in range(256)] + [b"</s>"]
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo(vocabulary, stop_token_ids=[256]), max_threads=1)


def accepts(grammar: str, text: str) -> bool:
    matcher = xgrammar.GrammarMatcher(compiler().compile_grammar(grammar))
    return all(matcher.accept_token(byte) for byte in text.encode()) and matcher.accept_token(256)


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
OPTIONAL = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}}}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {"node": {"type": "object", "properties": {"n": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (PERSON, [{"name": "Zoë 世"}, {"name": "a", "age": 3}], [{"age": 3}, {"name": 1}, {"name": "a", "x": 1}, {"age": 1, "name": "a"}]),
        (OPTIONAL, [{}, {"a": 1}, {"b": 1}, {"c": 1}, {"a": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}], [{"b": 1, "a": 1}, {"d": 1}]),
        (TREE, [{"n": 1, "kids": [{"n": 2}, {"kids": []}]}], [{"n": 1, "kids": [1]}]),
        ({"enum": ["a b", 3, None, {"x": [1]}]}, ["a b", 3, None, {"x": [1]}], ["a", 4]),
        ({"const": "x\n\"y'"}, ["x\n\"y'"], ["x"]),
        ({"type": ["integer", "null"]}, [3, -4, None], ["3", 1.5]),
        ({"type": "number"}, [3, -4.5, 1e-7, 1e20], ["3", True]),
        ({"type": "boolean"}, [True, False], [0]),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, [True, "x"], [1]),
        ({"allOf": [PERSON, {"properties": {"city": {"enum": ["X"]}}, "required": ["city"]}]}, [{"name": "a", "city": "X"}], [{"name": "a"}]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, [[True], [True, False]], [[], [True] * 3, [1]]),
        ({"type": "array", "maxItems": 0}, [[]], [[1]]),
        ({"type": "array", "minItems": 2}, [[1, "a"], [1, 2, 3]], [[1]]),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}, [["a", 1]], [["a"], [1, "a"]]),
        ({"type": "string", "minLength": 1, "maxLength": 3}, ["a", "世界b"], ["", "abcd"]),
        ({"type": "string", "format": "date"}, ["2026-03-04", "2026-12-31"], ["2026-13-01", "2026-3-4", "4 March", "2026-00-10", "2026-01-32"]),
        ({"type": "string", "format": "time"}, ["18:30", "00:00:59"], ["24:00", "18:60", "6pm"]),
        ({"type": "string", "format": "date-time"}, ["2026-03-04T18:30", "2026-03-04T18:30:00Z", "2026-03-04T18:30:00+08:00"], ["2026-03-04"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"x": 1, "y": 2}], [{"x": "1"}]),
        ({"type": "object", "properties": {}, "additionalProperties": False}, [{}], [{"a": 1}]),
        ({}, [{"a": [1, {"b": None}]}, "x", 1.5, True, []], []),
    ],
)
def test_schemas(schema: dict, good: list, bad: list) -> None:
    grammar = schema_grammar(schema)
    for value in good:
        assert accepts(grammar, json.dumps(value, ensure_ascii=False, separators=(",", ":"))), value
    for value in bad:
        assert not accepts(grammar, json.dumps(value, ensure_ascii=False, separators=(",", ":"))), value


def test_white_space_is_refused_where_it_means_nothing() -> None:
    grammar = schema_grammar(PERSON)
    assert accepts(grammar, '{"name":"a b"}')
    for text in ('{ "name":"a"}', '{"name": "a"}', '{"name":"a"}\n', '{"name":"a\n"}'):
        assert not accepts(grammar, text)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "date"}, "`type` is 'date'; allowed: object"),
        ({"enum": []}, "allows no value"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "allows no integer"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "does not describe"),
        ({"type": "object", "properties": {"a": 3}}, "is an object, not 3"),
    ],
)
def test_impossible_schemas_are_named(schema: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        schema_grammar(schema)


BOUNDS = [(0, 0), (1, 12), (0, 9), (7, 1234), (99, 100), (-5, 5), (-120, -7), (-1, None), (13, None), (None, -3), (None, 42), (100, 999), (101, 998)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_integer_ranges_are_exact(low: int | None, high: int | None) -> None:
    pattern = re.sub(r'"([^"]*)"', r"\1", integer_range(low, high)).replace(" ", "")
    for number in (*range(-1300, 1301), 10**6, -(10**6)):
        inside = (low is None or number >= low) and (high is None or number <= high)
        assert bool(re.fullmatch(pattern, str(number))) == inside, number
    for text in ("007", "-0", "", "1.0", "+1"):
        assert not re.fullmatch(pattern, text)


def test_exclusive_and_fractional_bounds() -> None:
    def members(*bounds: float | None) -> list[int]:
        pattern = re.sub(r'"([^"]*)"', r"\1", integer_range(*bounds)).replace(" ", "")
        return [n for n in range(-20, 21) if re.fullmatch(pattern, str(n))]

    assert members(None, None, 1, 4) == [2, 3]
    assert members(1.5, 4.5) == [2, 3, 4]
    assert members(0, 10, 3, None) == [4, 5, 6, 7, 8, 9, 10]


TOOLS = [
    ToolSpec(name="book", parameters={"type": "object", "properties": {"guests": {"type": "integer", "minimum": 1}}, "required": ["guests"]}),
    ToolSpec(name="menu", parameters={"type": "object", "properties": {}}),
]
CALLS = ['{"book":{"guests":2}}', '{"menu":{}}']
REPLIES = ["Hello {you}", "你好", "a\nb", '"quoted"']
NEITHER = ["", " {", '{"pay":{}}', '{"book":{"guests":0}}', '{"book":{}}', '{"menu":{}} ', '{"menu":{"x":1}}', "{", "\n{"]


@pytest.mark.parametrize(
    ("choice", "good", "bad"), [("auto", CALLS + REPLIES, NEITHER), ("required", CALLS, NEITHER + REPLIES), ("none", REPLIES, NEITHER + CALLS)]
)
def test_decisions(choice, good: list[str], bad: list[str]) -> None:
    grammar = decision_grammar(TOOLS, choice)
    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []


def test_tagged_decisions() -> None:
    grammar = decision_grammar(TOOLS, "auto", "tagged")
    assert accepts(grammar, '<tool_call>\n{"name": "book", "arguments": {"guests":2}}\n</tool_call>')
    assert accepts(grammar, "Hello")
    assert not accepts(grammar, "<tool_call>Hello")


def test_every_argument_of_a_call_is_written_an_optional_one_perhaps_as_null() -> None:
    parameters = {"type": "object", "properties": {"guests": {"type": "integer"}, "area": {"enum": ["in", "out"]}}, "required": ["guests"]}
    grammar = decision_grammar([ToolSpec(name="book", parameters=parameters)], "required")
    assert accepts(grammar, '{"book":{"guests":2,"area":null}}')
    assert accepts(grammar, '{"book":{"guests":2,"area":"in"}}')
    assert not accepts(grammar, '{"book":{"guests":2}}')
    assert not accepts(grammar, '{"book":{"guests":null,"area":"in"}}')


def test_a_call_without_tools_cannot_be_required() -> None:
    with pytest.raises(DataError, match="no tools are given"):
        decision_grammar([], "required")


def test_references_in_one_tool_do_not_meet_those_of_another() -> None:
    def tool(name: str, kind: str) -> ToolSpec:
        schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"], "$defs": {"x": {"type": kind}}}
        return ToolSpec(name=name, parameters=schema)

    grammar = decision_grammar([tool("a", "integer"), tool("b", "string")], "required")
    assert accepts(grammar, '{"a":{"x":1}}')
    assert accepts(grammar, '{"b":{"x":"1"}}')
    assert not accepts(grammar, '{"a":{"x":"1"}}')


def test_the_order_of_properties_is_part_of_a_grammar() -> None:
    forward = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "required": ["a", "b"]}
    backward = {**forward, "properties": {"b": {"const": 2}, "a": {"const": 1}}}
    assert accepts(schema_grammar(forward), '{"a":1,"b":2}')
    assert accepts(schema_grammar(backward), '{"b":2,"a":1}')
