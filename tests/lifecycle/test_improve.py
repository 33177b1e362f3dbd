"""One turn of the wheel with a scripted model: only weights and answers are made up, every stage, record and decision is real.

The training itself is done beforehand: its artifact is built under the request that `improve` will make, so that nothing here needs a model.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from noria.agent import AgentConfig, Toolbox
from noria.config import Project
from noria.errors import DataError, StoreError
from noria.evaluate.suites import read_results
from noria.lifecycle.candidate import base_of, build_engine
from noria.lifecycle.datasets import dataset_from_feedback
from noria.lifecycle.improve import RUN_FILE, Improvement, improve
from noria.lifecycle.lock import project_lock
from noria.lifecycle.releases import Records
from noria.schema import GenerationRequest, Message, Release
from noria.serve import Serving, first_release
from noria.serve.serving import WEIGHTS_FILE
from noria.testing import ScriptedGenerator
from noria.testing.project import write_small_project
from noria.train import TuneConfig

ENVIRONMENT = '''
"""Guests who want one table for some people, by name."""

import json
import tempfile
from datetime import date
from pathlib import Path

from noria.schema import Goal, Message, Outcome, ToolCall

DAY = "2026-03-04"


class Guest:
    today, user_id = date(2026, 3, 2), "guest"

    def __init__(self, goal):
        self.goal, self.state_dir, self.transcript = goal, Path(tempfile.mkdtemp()), ()
        self.wanted = {"day": DAY, "at": "19:00", "guests": goal.spec["guests"], "name": goal.spec["name"]}

    def guest_says(self, transcript):
        self.transcript = tuple(transcript)
        return None if transcript else f"A table for {self.wanted['guests']} on {DAY} at 19:00, {self.wanted['name']}"

    def demonstrate(self, transcript):
        if transcript[-1].role == "user":
            return Message(role="assistant", tool_calls=(ToolCall(id="c", name="book_table", arguments=self.wanted),))
        return Message(role="assistant", content="It is booked.")

    def outcome(self):
        booked = [json.loads(m.content) for m in self.transcript if m.role == "tool"]
        right = any(all(b.get(k) == self.wanted[k] for k in ("day", "guests", "name")) for b in booked)
        return Outcome(success=right, reason=f"{len(booked)} bookings")

    def close(self):
        pass


class Tables:
    name = "tables"

    def goals(self, split, num_goals, seed):
        return [Goal(id=f"{split}-{seed}-{k}", kind="table", spec={"guests": k % 7 + 1, "name": f"N{seed}-{k}"}) for k in range(num_goals)]

    def start(self, goal):
        return Guest(goal)


def environment(root):
    return Tables()
'''
DAY = date(2026, 3, 2)
SETTINGS = "[gate]\nnum_goals = 24\n[improve]\nminutes = 5\n[feedback]\nevaluation_share = 0\n"


def booking(request: GenerationRequest) -> dict[str, dict[str, object]] | str:
    """What a model that knows its trade says."""
    last = request.messages[-1]
    if last.role == "tool" or not last.content.startswith("A table"):
        return "It is booked. Goodbye for now, and thank you."
    words = last.content.replace(",", "").split()
    return {"book_table": {"day": words[5], "at": words[7], "guests": int(words[3]), "name": words[8]}}


def rambling(request: GenerationRequest) -> str:
    """What the base model says."""
    return "I would be happy to help you with anything at all."


class Desk:
    """A project with an environment, feedback to learn from, and releases whose engines are scripts."""

    def __init__(self, root: Path, after: Callable[[GenerationRequest], object] = booking) -> None:
        self.project: Project = write_small_project(root, SETTINGS)
        (root / "environment.py").write_text(ENVIRONMENT, encoding="utf-8")
        (root / "evals").mkdir()
        lines = [
            {"id": f"s{k}", "kind": "decision", "messages": [{"role": "user", "content": f"Hello {k}"}], "expect": {"reply": {"not_call": True}}}
            for k in range(30)
        ]
        (root / "evals" / "manners.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        self.after = after
        self.num_loaded = 0
        self.num_asked = 0
        self.stop_after: int | None = None
        self._lock = threading.Lock()
        with Records.open(self.project) as records:
            self.live = first_release(self.project, records.releases, records.artifacts)
            self.teach(records, "operator-1")

    def load(self, release: Release) -> Serving:
        self.num_loaded += 1
        script = rambling if release.id == self.live.id else self.after

        def counted(request: GenerationRequest) -> object:
            with self._lock:
                self.num_asked += 1
                if self.stop_after is not None and self.num_asked > self.stop_after:
                    raise KeyboardInterrupt
            return script(request)

        with Records.open(self.project) as records:
            return Serving(
                release=release,
                generator=ScriptedGenerator(counted),  # type: ignore[arg-type]
                toolbox=Toolbox.load(self.project.root / "tools.py"),
                traces=records.traces,
                state_dir=self.project.state_dir,
                config=AgentConfig(),
                system_prompt="You are the desk.",
            )

    def teach(self, records: Records, source: str) -> None:
        """A conversation and its correction."""
        conversation = records.traces.start_conversation(self.live.id, f"guest of {source}", DAY, {})
        serving = self.load(self.live)
        turn = None
        for event in serving.agent().respond(conversation.id, [Message(role="user", content=f"A table for 2, {source}")]):
            turn = getattr(event, "turn", turn)
        assert turn is not None
        records.feedback.add(turn.id, "demonstration", {"role": "assistant", "content": f"Of course, {source}."}, source, "operator", 0)

    def train_beforehand(self, minutes: float, **settings: Any) -> None:
        """Put the artifacts where `improve` will look for them."""
        config = TuneConfig(minutes=minutes, seed=0, **settings)
        with Records.open(self.project) as records:
            dataset = dataset_from_feedback(records)
            base = base_of(records, self.live)
            inputs = {"dataset": dataset.artifact.hash, "base": base.address, "origin": base.origin_address}
            told = config.model_dump(mode="json") | {"rendering": None}
            model = records.artifacts.build("model", inputs, told, 0, lambda folder: {"train_seconds": 60.0})
            engine = {"model": model.hash}
            records.artifacts.build("engine", engine, {"format": "gguf"}, 0, lambda folder: {"size": (folder / WEIGHTS_FILE).write_text("weights")})
            assert build_engine(records, model, lambda *_: None).path.is_dir()

    def improve(self) -> Improvement:
        return improve(self.project, progress=lambda *_: None, loader=self.load, train_minutes=2.0)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path / "desk")
    made.train_beforehand(2.0)
    return made


def test_a_better_candidate_goes_live(desk: Desk) -> None:
    stages: list[str] = []
    result = improve(desk.project, progress=lambda stage, *_: stages.append(stage), loader=desk.load, train_minutes=2.0)
    assert result.promoted, result.report.reasons
    assert (result.live.number, result.release.state, result.report.suites[0].effect) == (2, "live", 1.0)
    assert (result.before["success"], result.after["success"], result.after["exact_calls"]) == (0.0, 1.0, 1.0)
    assert [suite.suite for suite in result.report.suites] == ["objective", "manners", "speed", "memory"]
    assert (result.report.alpha_spent, result.report.alpha_left) == (0.0, 0.05)
    assert result.release.notes["gate"] == {"level": 0.025, "failures": 0}
    assert {"r1: manners", "r1: guests", "r2: guests", "speed and memory"} <= set(stages)
    with Records.open(desk.project) as records:
        row = records.releases.ledger()[-1]
    assert (row.feedback_used, row.minutes, row.effect) == (1, 1.0, 1.0)
    assert not (desk.project.state_dir / RUN_FILE).exists()


def test_the_same_candidate_is_not_tried_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", after=rambling)
    desk.train_beforehand(2.0)
    first = desk.improve()
    assert not first.promoted
    assert (first.release.state, first.live.number, first.report.alpha_spent) == ("rejected", 1, 0.025)
    asked = desk.num_asked
    second = desk.improve()
    assert second.already_known
    assert second.release.id == first.release.id
    assert second.after == first.after
    assert desk.num_asked == asked
    with Records.open(desk.project) as records:
        assert len(records.releases.list()) == 2


@pytest.mark.parametrize("stop_after", [20, 45, 65, 110])
def test_an_interrupted_improvement_goes_on(desk: Desk, stop_after: int) -> None:
    asked = desk.num_asked
    desk.stop_after = asked + stop_after
    with pytest.raises(KeyboardInterrupt):
        desk.improve()
    with Records.open(desk.project) as records:
        assert records.releases.list()[0].state == "live"
        kept = sum(len(read_results(path)) for path in records.artifacts.root.glob("evaluation/*/results.jsonl"))
    desk.stop_after, desk.num_asked = None, 0
    result = desk.improve()
    assert result.resumed
    assert result.promoted
    # The whole is 2 * 30 suite items, 24 guests of one decision and 24 of two, and 2 * 21 requests for the footprint.
    assert desk.num_asked <= 60 + 72 + 42 - kept
    with Records.open(desk.project) as records:
        assert [release.number for release in records.releases.list()] == [1, 2]


def test_a_missing_suite_is_refused_and_judged_again_when_it_is_there(desk: Desk) -> None:
    suite = desk.project.root / "evals" / "manners.jsonl"
    whole = suite.read_text(encoding="utf-8")
    suite.write_text("".join(whole.splitlines(keepends=True)[:5]), encoding="utf-8")
    refused = desk.improve()
    assert refused.report.decision == "refuse"
    assert "at least 29 are needed" in refused.report.reasons[0]
    assert (refused.release.state, refused.live.number) == ("candidate", 1)
    suite.write_text(whole, encoding="utf-8")
    judged = desk.improve()
    assert judged.promoted
    assert judged.release.id == refused.release.id


def test_one_improvement_at_a_time(desk: Desk) -> None:
    with project_lock(desk.project, "improve"), pytest.raises(StoreError, match="Another `noria improve` is at work"):
        desk.improve()


def test_without_feedback_there_is_nothing_to_learn(tmp_path: Path) -> None:
    project = write_small_project(tmp_path / "empty")
    with pytest.raises(DataError, match="There is nothing to learn from yet"):
        improve(project, progress=lambda *_: None)


def test_a_margin_of_no_suite_is_refused_before_any_work(desk: Desk) -> None:
    with (desk.project.root / "noria.toml").open("a") as file:
        file.write("\n[gate.margins]\nmaners = 0.01\n")
    project = Project.load(desk.project.root)
    with pytest.raises(DataError, match="names 'maners', but the suites in `evals/` are: manners"):
        improve(project, progress=lambda *_: None, loader=desk.load, train_minutes=2.0)
    assert desk.num_asked == 1, "only the conversation that was corrected"
    assert not (project.state_dir / RUN_FILE).exists()


def test_other_settings_of_training_are_another_request(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", after=rambling)
    desk.train_beforehand(2.0)
    desk.train_beforehand(2.0, learning_rate=0.002)
    assert desk.improve().release.number == 2
    desk.project = replace(desk.project, settings={**desk.project.settings, "train": {"learning_rate": 0.002}})
    second = desk.improve()
    assert (second.already_known, second.release.number) == (False, 3)


def test_a_spent_error_budget_is_told_before_training(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "desk", after=rambling)
    desk.train_beforehand(2.0)
    settings = {**desk.project.settings, "gate": {**desk.project.settings.get("gate", {}), "horizon": 1}}
    project = replace(desk.project, settings=settings)
    assert not improve(project, progress=lambda *_: None, loader=desk.load, train_minutes=2.0).promoted
    with Records.open(project) as records:
        desk.teach(records, "operator-2")
    with pytest.raises(DataError, match="error budget of this project is spent: `.gate. horizon` is 1"):
        improve(project, progress=lambda *_: None, loader=desk.load, train_minutes=2.0)
    assert not (project.state_dir / RUN_FILE).exists()
