"""Tools as lines, calls as text, and calls read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.model.tool_text import call_json, describe_tool, parse_calls
from noria.schema import ToolSpec


def tool(properties: dict, required: list[str] | None = None, name: str = "book", **more) -> ToolSpec:
    return ToolSpec(
        name=name, description="Book  a\n table", parameters={"type": "object", "properties": properties, "required": required or [], **more}
    )


@pytest.mark.parametrize(
    ("properties", "line"),
    [
        ({}, "book() Book a table"),
        ({"name": {"type": "string"}}, "book(name?:str) Book a table"),
        ({"day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "time"}}, "book(day?:date, at?:time) Book a table"),
        ({"n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"}}, "book(n?:int, x?:num, b?:bool) Book a table"),
        ({"area": {"enum": ["in", "out"]}, "k": {"const": 3}}, "book(area?:in|out, k?:3) Book a table"),
        ({"tags": {"type": "array", "items": {"type": "string"}}}, "book(tags?:[str]) Book a table"),
        (
            {"guests": {"type": "array", "items": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}}},
            "book(guests?:[{age:int}]) Book a table",
        ),
        (
            {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "y": {"type": ["integer", "string"]}},
            "book(x?:str|null, y?:int|str) Book a table",
        ),
        ({"x": {"type": "object"}, "y": {}}, "book(x?:object, y?:any) Book a table"),
        ({"x": {"$ref": "#/nowhere"}}, "book(x?:any) Book a table"),
    ],
)
def test_lines(properties: dict, line: str) -> None:
    assert describe_tool(tool(properties)) == line


def test_required_and_references() -> None:
    spec = tool({"who": {"$ref": "#/$defs/person"}}, ["who"], **{"$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}}}}})
    assert describe_tool(spec) == "book(who:{name?:str}) Book a table"


def test_calls_are_compact_and_in_schema_order() -> None:
    inner = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}}
    spec = tool({"date": {}, "guests": {}, "people": {"type": "array", "items": inner}}, ["date", "guests", "people"])
    arguments = {"extra": 1, "people": [{"b": 2, "a": 1}], "guests": 2, "date": "二月"}
    assert call_json("book", arguments, [spec]) == '{"book":{"date":"二月","guests":2,"people":[{"a":1,"b":2}],"extra":1}}'


def test_an_optional_argument_that_is_not_given_is_written_as_null_and_read_as_not_given() -> None:
    spec = tool({"day": {}, "guests": {}, "area": {}}, ["guests"])
    text = call_json("book", {"guests": 2}, [spec])
    assert text == '{"book":{"day":null,"guests":2,"area":null}}'
    (call,) = parse_calls(text, [spec])
    assert call.arguments == {"guests": 2}


def test_a_required_argument_may_be_null() -> None:
    spec = tool({"guests": {"type": ["integer", "null"]}}, ["guests"])
    (call,) = parse_calls(call_json("book", {"guests": None}, [spec]), [spec])
    assert call.arguments == {"guests": None}


@given(st.dictionaries(st.sampled_from("abcde"), st.none() | st.integers() | st.text(), max_size=5), st.sets(st.sampled_from("abc")))
def test_calls_are_read_as_they_were_written(arguments: dict, required: set[str]) -> None:
    spec = tool({name: {} for name in "abc"}, sorted(required))
    (call,) = parse_calls(call_json("book", arguments, [spec]), [spec])
    assert call.arguments == {k: v for k, v in arguments.items() if v is not None or k in required or k not in "abc"}


@pytest.mark.parametrize(
    "text",
    [
        '{"book":{"guests":2}}',
        '{"name":"book","arguments":{"guests":2}}',
        '{"name":"book","parameters":{"guests":2}}',
        '<tool_call>\n{"name": "book", "arguments": {"guests": 2}}\n</tool_call>',
        'Sure.\n<tool_call>{"name": "book", "arguments": {"guests": 2}}</tool_call>',
    ],
)
def test_calls_are_read(text: str) -> None:
    (call,) = parse_calls(text, [tool({})])
    assert (call.name, call.arguments) == ("book", {"guests": 2})


def test_several_calls_have_their_own_ids() -> None:
    calls = parse_calls('{"book":{"guests":1}}\n{"book":{"guests":2}}', [tool({})])
    assert [c.arguments["guests"] for c in calls] == [1, 2]
    assert calls[0].id != calls[1].id


@pytest.mark.parametrize("text", ["Hello", '{"pay":{"sum":1}}', '{"book":3}', '{"book":{"guests":2}', "{}", '{"book":{}}\nand more', "[1]", ""])
def test_what_is_no_call_is_text(text: str) -> None:
    assert parse_calls(text, [tool({})]) == ()


def test_without_tools_nothing_is_a_call() -> None:
    assert parse_calls('{"book":{"guests":2}}', []) == ()
