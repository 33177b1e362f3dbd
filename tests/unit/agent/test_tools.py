"""Plain functions become tools; wrong ones and wrong calls are told in one sentence."""

import logging
import time as clock
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from noria.agent import Toolbox, ToolContext, tool
from noria.errors import ConfigError, ToolFailed, ToolRetry


class Color(Enum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Guest(TypedDict):
    name: str
    age: int


@dataclass
class Address:
    street: str
    number: int = 1


class Order(BaseModel):
    item: Literal["tea", "cake"]
    count: int


def test_a_name_that_no_call_could_carry_is_told() -> None:
    def book_it() -> str:
        """Book."""
        return "done"

    with pytest.raises(ConfigError, match="`book_it`: The name of a tool has 1 to 128 characters and no space; 'book a table' is none"):
        Toolbox([tool(name="book a table")(book_it)])


@tool(effect="writes", confirm=True)
def book(
    date: date,
    time: time,
    guests: int,
    kind: Literal["bar", "garden"],
    ctx: ToolContext,
    color: Color = Color.RED,
    names: list[str] | None = None,
    price: float = 1.5,
    quiet: bool = False,
) -> dict[str, Any]:
    """Book a table
    in the house

    Args:
        date: The day.
        guests: How many
            people eat.

    Returns:
        Whatever.
    """
    return {"date": date, "time": time, "guests": guests, "kind": kind, "color": color, "names": names, "price": price, "key": ctx.idempotency_key}


@tool
def nested(guest: Guest, address: Address, orders: list[Order], at: datetime) -> list[Any]:
    """Nested types"""
    return [guest, address, orders, at]


def context(**changes: Any) -> ToolContext:
    return ToolContext(**{"state_dir": Path(), "idempotency_key": "k1", "today": date(2026, 3, 3), **changes})


def test_schema_from_signature_and_docstring() -> None:
    spec = Toolbox([book]).specs[0]
    assert (spec.name, spec.description, spec.effect) == ("book", "Book a table in the house", "writes")
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "date": {"type": "string", "format": "date", "description": "The day."},
            "time": {"type": "string", "format": "time"},
            "guests": {"type": "integer", "description": "How many people eat."},
            "kind": {"type": "string", "enum": ["bar", "garden"]},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "names": {"type": "array", "items": {"type": "string"}},
            "price": {"type": "number", "default": 1.5},
            "quiet": {"type": "boolean", "default": False},
        },
        "required": ["date", "time", "guests", "kind"],
        "additionalProperties": False,
    }


def test_json_arguments_become_python_values_and_results_compact_json() -> None:
    arguments = {"date": "2026-03-04", "time": "19:00", "guests": "2", "kind": "bar", "color": "blue", "names": ["Ann", "Bo"]}
    result = Toolbox([book]).call("book", arguments, context())
    assert result.state == "done"
    expected = '{"date":"2026-03-04","time":"19:00","guests":2,"kind":"bar","color":"blue","names":["Ann","Bo"],"price":1.5,"key":"k1"}'
    assert result.content == expected


def test_nested_types_have_flat_schemas() -> None:
    toolbox = Toolbox([nested])
    assert "$ref" not in str(toolbox.specs[0].parameters)
    arguments = {"guest": {"name": "Ann", "age": 3}, "address": {"street": "A"}, "orders": [{"item": "tea", "count": 2}], "at": "2026-03-04T18:30"}
    expected = '[{"name":"Ann","age":3},{"street":"A","number":1},[{"item":"tea","count":2}],"2026-03-04T18:30"]'
    assert toolbox.call("nested", arguments, context()).content == expected


GOOD = {"date": "2026-03-04", "time": "19:00", "guests": 2, "kind": "bar"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"date": "tomorrow"}, "Argument `date` of `book` is 'tomorrow'; it must be a date as 2026-03-04."),
        ({"time": "late"}, "Argument `time` of `book` is 'late'; it must be a time as 18:30."),
        ({"guests": 2.5}, "Argument `guests` of `book` is 2.5; it must be a whole number."),
        ({"kind": "pool"}, "Argument `kind` of `book` is 'pool'; it must be one of 'bar', 'garden'."),
        ({"names": "Ann"}, "Argument `names` of `book` is 'Ann'; it must be a list, each a text."),
        ({"size": 1}, "`book` has no argument `size`; its arguments are: date, time, guests, kind, color, names, price, quiet."),
        ({"guests": None}, "Argument `guests` of `book` is None; it must be a whole number."),
        ({"price": float("nan")}, "Argument `price` of `book` is nan; it must be a number."),
    ],
)
def test_wrong_arguments_go_back_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    result = Toolbox([book]).call("book", GOOD | changes, context())
    assert (result.state, result.content) == ("retry", sentence)


def test_missing_arguments_and_unknown_tools() -> None:
    toolbox = Toolbox([book])
    assert toolbox.call("book", {}, context()).content == "Argument `date` of `book` is missing; it must be a date as 2026-03-04."
    assert toolbox.call("cook", {}, context()).content == "There is no tool `cook`; the tools are: book."


def test_null_for_an_optional_argument_means_its_default() -> None:
    assert '"price":1.5' in Toolbox([book]).call("book", GOOD | {"price": None}, context()).content


def test_what_tools_raise(caplog: pytest.LogCaptureFixture) -> None:
    @tool
    def act(kind: str) -> str:
        """Act"""
        if kind == "retry":
            raise ToolRetry("Ask for the day.")
        if kind == "failed":
            raise ToolFailed("All full.")
        raise RuntimeError("password=hunter2")

    toolbox = Toolbox([act])
    assert (toolbox.call("act", {"kind": "retry"}, context()).state, toolbox.call("act", {"kind": "failed"}, context()).content) == (
        "retry",
        "All full.",
    )
    with caplog.at_level(logging.ERROR):
        result = toolbox.call("act", {"kind": "x"}, context())
    assert (result.state, result.content) == ("failed", "`act` failed because of an internal error.")
    assert "hunter2" in caplog.text  # the traceback is in the log, not in the conversation


def test_a_tool_that_hangs_is_left_behind() -> None:
    @tool(effect="writes", timeout_seconds=0.05)
    def hang() -> None:
        """Hang"""
        clock.sleep(0.3)

    result = Toolbox([hang]).call("hang", {}, context())
    assert (result.state, result.content) == ("unknown", "`hang` did not answer within 0.05 seconds; whether it happened is unknown.")


def test_long_results_are_cut_with_a_note() -> None:
    @tool(max_result_characters=40)
    def rows(num: int) -> list[dict[str, int]]:
        """Rows"""
        return [{"row": i} for i in range(num)]

    @tool(max_result_characters=10)
    def text() -> str:
        """Text"""
        return "x" * 25

    toolbox = Toolbox([rows, text])
    assert toolbox.call("rows", {"num": 3}, context()).content == '[{"row":0},{"row":1},{"row":2}]'
    assert toolbox.call("rows", {"num": 9}, context()).content == '[{"row":0},{"row":1},{"row":2}] [cut: 6 of 9 items left out]'
    assert toolbox.call("text", {}, context()).content == "xxxxxxxxxx [cut: 15 of 25 characters left out]"


def test_a_result_that_is_no_json_fails_safely() -> None:
    @tool
    def odd() -> object:
        """Odd"""
        return object()

    assert Toolbox([odd]).call("odd", {}, context()).state == "failed"


HEAD = "from noria.agent import tool, ToolContext\nfrom datetime import date\n"
WRONG = {
    "@tool\ndef f(x):\n    '''F'''\n": "tool `f`: argument `x` has no annotation. Allowed: str, int",
    "@tool\ndef f(*x: int):\n    '''F'''\n": "tool `f` takes `*x: int`; a model can only give arguments by name",
    "@tool\ndef f(x: int):\n    pass\n": "tool `f` has no docstring",
    "@tool\ndef f(x: object):\n    '''F'''\n": "argument `x` is annotated `<class 'object'>`, which no model can fill in",
    "class A: pass\n@tool\ndef f(x: A):\n    '''F'''\n": "which no model can fill in. Allowed: str, int",
    "@tool\ndef f(x: 'Nope'):\n    '''F'''\n": "has an annotation that cannot be read: name 'Nope' is not defined",
    "@tool\ndef f(x: int):\n    '''F\n\n    Args:\n        y: no\n    '''\n": "its docstring describes `y`, which is no argument. Arguments: x.",
    "@tool(effect='eats')\ndef f():\n    '''F'''\n": "`@tool(effect=...)` is 'eats'; allowed: reads, writes, sends, pays.",
    "@tool\ndef _f():\n    '''F'''\n": "`_f` is private and cannot be a tool",
    "def f():\n    '''F'''\n": "has no tool. Write `@tool` above each function",
    "1 / 0\n": "tools.py:3: the tools file cannot be loaded: ZeroDivisionError: division by zero.",
    "def f(:\n": "tools.py:3: the tools file cannot be loaded: SyntaxError",
    "@tool(name='g')\ndef f():\n    '''F'''\n@tool\ndef g():\n    '''G'''\n": "Two tools are called `g`",
}


@pytest.mark.parametrize(("source", "sentence"), WRONG.items())
def test_wrong_tools_are_refused_with_place_and_rule(tmp_path: Path, source: str, sentence: str) -> None:
    path = tmp_path / "tools.py"
    path.write_text(HEAD + source)
    with pytest.raises(ConfigError) as caught:
        Toolbox.load(path)
    assert sentence in str(caught.value)
    assert "tools.py" in str(caught.value) or "@tool(name=...)" in str(caught.value)


def test_load_takes_decorated_functions_of_the_file_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "from __future__ import annotations\n"
        + HEAD
        + "@tool\ndef b(day: date, ctx: ToolContext) -> str:\n    '''B'''\n    return f'{day} {ctx.today}'\n"
        "@tool\ndef a() -> str:\n    '''A'''\n    return inner()\ndef inner() -> str:\n    '''No tool'''\n    return 'x'\n"
    )
    toolbox = Toolbox.load(tmp_path / "tools.py")
    assert [spec.name for spec in toolbox.specs] == ["b", "a"]
    assert toolbox.call("b", {"day": "2026-03-04"}, context()).content == "2026-03-04 2026-03-03"
    with pytest.raises(ConfigError, match="No tools file at"):
        Toolbox.load(tmp_path / "none.py")
