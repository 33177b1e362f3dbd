"""Guests over HTTP and in process meet the same worlds, and their decisions are numbered alike."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from noria.errors import AgentError
from noria.lifecycle.channels import AgentChannel, ColleagueGenerator, HttpChannel, WorldServing
from noria.lifecycle.episodes import record_feedback, run_episode
from noria.schema import GenerationRequest, Goal, Message, Outcome, Release, ToolCall
from noria.testing import ScriptedGenerator
from noria.testing.project import scripted_runtime, write_small_project
from noria.testing.server import served

TOOLS = '''
"""A notebook."""

from noria.agent import ToolContext, tool


@tool(effect="writes")
def note(text: str, ctx: ToolContext) -> str:
    """Write a note"""
    (ctx.state_dir / "notes.txt").write_text(f"{text} {ctx.today} {ctx.user_id}")
    return "noted"
'''


class Writer:
    """Wants a note in its own world."""

    today, user_id = date(2026, 3, 4), "writer"

    def __init__(self, goal: Goal, state_dir: Path) -> None:
        self.goal, self.state_dir = goal, state_dir

    def guest_says(self, transcript: Sequence[Message]) -> str | None:
        return f"Note: {self.goal.spec['text']}" if not transcript else None

    def demonstrate(self, transcript: Sequence[Message]) -> Message:
        if transcript[-1].role == "user":
            return Message(role="assistant", tool_calls=(ToolCall(id="x", name="note", arguments={"text": self.goal.spec["text"]}),))
        return Message(role="assistant", content="It is noted.")

    def outcome(self) -> Outcome:
        path = self.state_dir / "notes.txt"
        held = path.read_text() if path.exists() else ""
        return Outcome(success=held == f"{self.goal.spec['text']} 2026-03-04 writer", reason=held)

    def close(self) -> None: ...


class Notes:
    name = "notes"

    def __init__(self, root: Path) -> None:
        self.root = root

    def goals(self, split: str, num_goals: int, seed: int) -> list[Goal]:
        return [Goal(id=f"g{k}", kind="note", spec={"text": f"milk{k}"}) for k in range(num_goals)]

    def start(self, goal: Goal) -> Writer:
        folder = self.root / goal.id
        folder.mkdir(parents=True, exist_ok=True)
        return Writer(goal, folder)


def model(request: GenerationRequest) -> dict[str, dict[str, str]] | str:
    """Takes the note, but answers the guest with number 1 without noting anything."""
    last = request.messages[-1]
    if last.role == "user" and not last.content.endswith("1"):
        return {"note": {"text": last.content.removeprefix("Note: ")}}
    return "Noted, thank you."


def test_http_and_process_are_alike(tmp_path: Path) -> None:
    project = write_small_project(tmp_path / "desk")
    (project.root / "tools.py").write_text(TOOLS)
    plain = scripted_runtime(project, lambda release: ScriptedGenerator(model))
    worlds: dict[str, Path] = {}
    own = plain.engines._load  # pyright: ignore[reportPrivateUsage]

    def load(release: Release) -> WorldServing:
        return WorldServing.of(own(release), worlds)

    plain.engines._load = load  # pyright: ignore[reportPrivateUsage]
    environments = Notes(tmp_path / "http"), Notes(tmp_path / "process")
    goals = environments[0].goals("train", 2, 0)
    with served(plain) as url:
        channel = HttpChannel(url, "desk", worlds)
        over_http = [run_episode(environments[0], goal, channel) for goal in goals]
        with plain.engines.lease(plain.current()) as serving:
            in_process = [run_episode(environments[1], goal, AgentChannel(serving)) for goal in goals]
            colleague = run_episode(Notes(tmp_path / "colleague"), goals[1], AgentChannel(serving, ColleagueGenerator))
        for results in (over_http, in_process):
            assert [r.outcome.success for r in results] == [True, False]
            assert [[(d.step, d.exact) for d in r.decisions] for r in results] == [[(0, True), (1, True)], [(0, False)]]
        assert [m.role for m in over_http[0].transcript] == [m.role for m in in_process[0].transcript] == ["user", "assistant", "tool", "assistant"]
        assert colleague.outcome.success
        assert all(d.exact for d in colleague.decisions)
        assert record_feedback(channel, environments[0], over_http[1], corrections=True) == 3
        kept = plain.feedback.list(receipt=over_http[1].replies[-1].receipt)
        assert [(f.kind, f.role, f.step) for f in kept] == [
            ("outcome", "environment", None),
            ("thumb", "user", None),
            ("demonstration", "operator", 0),
        ]
        assert json.loads(kept[2].value["tool_calls"][0]["function"]["arguments"]) == {"text": "milk1"}
        with pytest.raises(AgentError, match=r"metadata\.today"):
            channel.say({"request": {"model": "desk", "metadata": {"today": "soon"}}}, "Note: x")
        channel.close()
