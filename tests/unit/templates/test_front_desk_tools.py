from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from noria.agent import Toolbox, ToolContext, ToolResult
from noria.agent.setup import SEARCH
from noria.model import Renderer, load_tokenizer, resolve
from noria.schema import Message

TODAY = date(2026, 3, 2)


class Desk:
    """The tools on one world, each call under a key of its own unless one is given."""

    def __init__(self, toolbox: Toolbox, folder: Path) -> None:
        self.toolbox, self.folder, self._keys = toolbox, folder, count()

    def __call__(self, tool: str, key: str | None = None, user: str = "ada", **arguments: Any) -> ToolResult:
        context = ToolContext(state_dir=self.folder, idempotency_key=key or f"key-{next(self._keys)}", today=TODAY, user_id=user)
        return self.toolbox.call(tool, arguments, context)


@pytest.fixture
def desk(toolbox: Toolbox, tmp_path: Path) -> Desk:
    return Desk(toolbox, tmp_path)


def test_at_least_eight_tools_of_which_five_change_something(toolbox: Toolbox) -> None:
    assert len(toolbox.specs) >= 8
    assert sum(spec.effect != "reads" for spec in toolbox.specs) >= 5
    assert all(tool is not None and tool.repeatable for tool in (toolbox.get(spec.name) for spec in toolbox.specs))


def test_prompt_and_tools_are_cheap_for_a_small_model(project: Path, toolbox: Toolbox) -> None:
    renderer = Renderer(load_tokenizer(resolve("smollm2-135m").path))
    empty = renderer.prompt([Message(role="system")])
    prompt = (project / "prompts/system.md").read_text().strip().replace("{today}", "2026-03-04")
    assert len(renderer.prompt([Message(role="system", content=prompt)])) - len(empty) <= 40
    assert len(renderer.prompt([Message(role="system")], (*toolbox.specs, SEARCH))) - len(empty) <= 220


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("book_room", {"date": "2026-03-04", "nights": 2, "room": "double"}),
    ("book_table", {"date": "2026-03-04", "time": "19:30", "guests": 4}),
    ("order_service", {"room": 204, "item": "towels"}),
    ("report_issue", {"room": 204, "problem": "shower"}),
    ("request_taxi", {"date": "2026-03-04", "time": "09:15", "place": "airport"}),
]


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_a_call_run_again_returns_the_first_result_and_changes_nothing(desk: Desk, environment: Any, tool: str, arguments: dict[str, Any]) -> None:
    first = desk(tool, key="same", **arguments)
    assert first.state == "done", first
    world, tools = environment.modules["world"], environment.modules["tools"]
    before = world.snapshot(tools.open_desk(desk.folder, TODAY))
    assert desk(tool, key="same", **arguments) == first
    assert world.snapshot(tools.open_desk(desk.folder, TODAY)) == before
    assert desk(tool, **arguments).state == "done"
    assert world.snapshot(tools.open_desk(desk.folder, TODAY)) != before


def test_move_and_cancel_are_done_once_too(desk: Desk) -> None:
    code = _code(desk("book_table", date="2026-03-04", time="19:30", guests=4))
    moved = desk("change_booking", key="move", code=code, date="2026-03-06")
    assert moved.content == f'{{"code":"{code}","date":"2026-03-06"}}'
    assert desk("change_booking", key="move", code=code, date="2026-03-06") == moved
    cancelled = desk("cancel_booking", key="cancel", code=code)
    assert cancelled.content == f'{{"cancelled":"{code}"}}'
    assert desk("cancel_booking", key="cancel", code=code) == cancelled
    assert desk("cancel_booking", code=code).state == "failed"


def test_a_booking_belongs_to_its_guest(desk: Desk) -> None:
    code = _code(desk("book_room", date="2026-03-04", nights=2, room="suite"))
    for tool, arguments in (("cancel_booking", {"code": code}), ("change_booking", {"code": code, "date": "2026-03-05"})):
        assert desk(tool, user="eve", **arguments) == ToolResult(state="failed", content=f"This guest has no booking {code}.")
    assert desk("cancel_booking", code="Q101").state == "failed"
    assert desk("cancel_booking", code=code.lower()).state == "done"


def test_full_tables_and_rooms_come_with_what_is_free(desk: Desk) -> None:
    for _ in range(6):
        assert desk("book_table", date="2026-03-09", time="19:00", guests=2).state == "done"
    assert desk("book_table", date="2026-03-09", time="20:00", guests=2).content == '{"full":"20:00","free":["17:00","21:00"]}'
    for _ in range(6):
        desk("book_room", date="2026-03-09", nights=3, room="suite")
    assert desk("book_room", date="2026-03-11", nights=2, room="suite").content == '{"full":"suite","free":["single","double"]}'
    assert desk("find_rooms", date="2026-03-11", nights=1, guests=2).content == '{"double":120}'
    assert desk("find_rooms", date="2026-03-12", nights=1, guests=2).content == '{"double":120,"suite":210}'


def test_a_move_to_a_full_day_leaves_the_booking_as_it_was(desk: Desk) -> None:
    code = _code(desk("book_table", date="2026-03-08", time="19:00", guests=7))
    desk("book_table", date="2026-03-09", time="19:00", guests=7)
    assert desk("change_booking", code=code, date="2026-03-09").content == "Nothing is free on 2026-03-09; the booking stays as it was."
    assert desk("change_booking", code=code, date="2026-03-08").state == "done"


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("book_table", {"date": "2026-03-01", "time": "19:00", "guests": 2}, "2026-03-01 is in the past; today is 2026-03-02."),
        ("book_table", {"date": "2026-03-04", "time": "23:00", "guests": 2}, "The restaurant seats guests from 12:00 to 21:30."),
        ("book_table", {"date": "2026-03-04", "time": "19:00", "guests": 9}, "A table seats 1 to 8 people."),
        ("book_room", {"date": "2026-03-04", "nights": 0, "room": "suite"}, "A stay is 1 to 21 nights."),
        ("order_service", {"room": 999, "item": "towels"}, "There is no room 999."),
        ("order_service", {"room": 101, "item": "gold"}, "it must be one of 'towels'"),
    ],
)
def test_a_wrong_call_is_told_what_is_allowed(desk: Desk, tool: str, arguments: dict[str, Any], told: str) -> None:
    result = desk(tool, **arguments)
    assert result.state == "retry"
    assert told in result.content


def test_menu_of_a_diet(desk: Desk) -> None:
    assert desk("show_menu", diet="vegan").content == '{"soup":9,"curry":14}'
    assert desk("show_menu", diet="vegetarian").content == desk("show_menu", diet="all").content == '{"soup":9,"curry":14,"pizza":12}'


def _code(result: ToolResult) -> str:
    assert result.state == "done", result
    return result.content.removeprefix('{"code":"').removesuffix('"}')
