import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from noria.agent import Toolbox, tool
from noria.errors import DataError
from noria.feedback import import_file, stats
from noria.schema import ToolSpec


def write_lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_taken_in_whole(records: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "hi", ["hello"])
    path = write_lines(
        tmp_path / "f.jsonl",
        {"receipt": turn.id, "kind": "thumb", "value": False},
        {"receipt": turn.id, "kind": "demonstration", "value": "Good evening.", "source": "eva", "role": "environment", "step": 0},
    )
    assert import_file(records.database, path) == 2
    first, second = records.log.list()
    assert (first.source, first.role, first.value) == ("f.jsonl", "operator", False)
    assert (second.source, second.role, second.step) == ("eva", "environment", 0)
    assert stats(records.database)["by_kind"] == {"demonstration": 1, "thumb": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"receipt": "turn_x"}, "No answer has the receipt 'turn_x'"),
        ({"value": 3}, "Feedback `value` of kind 'thumb' is true or false, not 3"),
        ({"kind": "star"}, "Feedback `kind` is 'star'; allowed: thumb"),
        ({"vaule": True}, "unknown field `vaule`; allowed: receipt, kind, value, source, role, step"),
        ({"role": "king"}, "Feedback field `role` is 'king'"),
    ],
)
def test_one_wrong_line_and_nothing_is_taken(records: Any, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    turn = records.turn(records.conversation(), "hi", ["hello"])
    good = {"receipt": turn.id, "kind": "thumb", "value": True}
    path = write_lines(tmp_path / "f.jsonl", good, {**good, **change})
    with pytest.raises(DataError, match=f"f.jsonl' line 2: {says}"):
        import_file(records.database, path)
    assert records.log.list() == []


@tool(name="find")
def find_day(day: date, floor: int = 0) -> str:
    """Look for a day"""
    return f"{day} {floor}"


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("nope", {}, "The agent had no tool 'nope' here; it had: find."),
        ("find", {"day": "tomorrow"}, "`find` does not take these arguments: Argument `day` of `find` is 'tomorrow'; it must be a date"),
        ("find", {"day": "2026-03-04", "floor": "2"}, "`find` does not take these arguments: `floor`: '2' is not of type 'integer'."),
        ("find", {"dya": "2026-03-04"}, "`find` does not take these arguments: `find` has no argument `dya`"),
    ],
)
def test_a_call_that_the_agent_could_not_have_made_is_refused(records: Any, tmp_path: Path, name: str, arguments: dict[str, Any], says: str) -> None:
    toolbox = Toolbox([find_day])
    turn = records.turn(records.conversation(), "a table", ["hello"], toolbox.specs)
    rows = [
        {
            "receipt": turn.id,
            "kind": "demonstration",
            "value": {"role": "assistant", "tool_calls": [{"function": {"name": called, "arguments": given}}]},
        }
        for called, given in (("find", {"day": "2026-03-04"}), (name, arguments))
    ]
    path = write_lines(tmp_path / "f.jsonl", *rows)
    with pytest.raises(DataError, match=f"f.jsonl' line 2: {says}"):
        import_file(records.database, path, toolbox=toolbox)
    assert records.log.list() == []
    assert import_file(records.database, write_lines(tmp_path / "g.jsonl", rows[0]), toolbox=toolbox) == 1


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"required": ["of"], "properties": {"of": {"$ref": "#/required"}}}, "Ann"),
        ({"properties": {"of": {"multipleOf": 0.1}}}, 10**400),
        ({"properties": {"of": {"uniqueItems": True}}}, [{"a": i} for i in range(20_000)]),
        ({"properties": {"of": {"required": [{"a": i} for i in range(20_000)]}}}, {}),
        ({"properties": {"of": {"items": {"enum": list(range(20_000))}}}}, [-1] * 20_000),
    ],
    ids=["reference", "multiple", "unique", "required", "enum"],
)
def test_a_call_of_a_tool_whose_schema_cannot_be_read_here_is_taken(records: Any, tmp_path: Path, parameters: dict[str, Any], value: Any) -> None:
    turn = records.turn(records.conversation(), "hi", ["hello"], [ToolSpec(name="ask", parameters={"type": "object", **parameters})])
    shown = {"role": "assistant", "tool_calls": [{"function": {"name": "ask", "arguments": {"of": value}}}]}
    row = {"receipt": turn.id, "kind": "demonstration", "value": shown}
    assert import_file(records.database, write_lines(tmp_path / "f.jsonl", row)) == 1


def test_missing_fields_and_empty_files(records: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: field `value` is missing; required: receipt, kind, value"):
        import_file(records.database, write_lines(tmp_path / "a.jsonl", {"receipt": "r", "kind": "thumb"}))
    with pytest.raises(DataError, match="has no rows"):
        import_file(records.database, write_lines(tmp_path / "b.jsonl"))
