"""Guests talk to a channel, the expert's decisions stand beside the agent's, and feedback is bound to receipts."""

import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pytest

from noria.errors import AgentError, StoreError
from noria.lifecycle.episodes import MAX_TURNS, Channel, EpisodeResult, Reply, record_feedback, run_episode, run_episodes
from noria.schema import Episode, Goal, Message, Outcome, ToolCall


def call(number: int) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c", name="add", arguments={"number": number}),))


class Counter:
    """Wants the world to hold `spec["wanted"]`; says it, thanks, and leaves. The expert adds the number, then replies."""

    today, user_id = date(2026, 3, 1), "guest-1"

    def __init__(self, goal: Goal, worlds: dict[str, int]) -> None:
        self.goal, self.worlds, self.state_dir, self.closed = goal, worlds, Path(), False

    def guest_says(self, transcript: Sequence[Message]) -> str | None:
        said = sum(m.role == "user" for m in transcript)
        return None if said >= self.goal.spec.get("patience", 2) else f"add {self.goal.spec['wanted']}" if said == 0 else "thanks"

    def demonstrate(self, transcript: Sequence[Message]) -> Message:
        fresh = transcript[-1].role == "user" and transcript[-1].content.startswith("add")
        return call(self.goal.spec["wanted"]) if fresh else Message(role="assistant", content="Done.")

    def outcome(self) -> Outcome:
        held = self.worlds.get(self.goal.id, 0)
        return Outcome(success=held == self.goal.spec["wanted"], reason=f"holds {held}")

    def close(self) -> None:
        self.closed = True


class Counting:
    name = "counting"

    def __init__(self) -> None:
        self.worlds: dict[str, int] = {}
        self.episodes: list[Counter] = []

    def goals(self, split: Literal["train", "evaluation"], num_goals: int, seed: int) -> list[Goal]:
        return [Goal(id=f"{split}-{seed}-{k}", kind="add", spec={"wanted": k}) for k in range(num_goals)]

    def start(self, goal: Goal) -> Counter:
        self.episodes.append(Counter(goal, self.worlds))
        return self.episodes[-1]


class Adder:
    """Adds what is asked for, but is off by `error` for odd numbers."""

    def __init__(self, environment: Counting, error: int = 0) -> None:
        self.environment, self.error = environment, error
        self.together = threading.Barrier(4)
        self.receipts = 0

    def begin(self, episode: Episode) -> str:
        return episode.goal.id

    def say(self, conversation: str, text: str) -> Reply:
        receipt = f"turn-{conversation}-{text.split()[0]}"
        if not text.startswith("add"):
            return Reply(receipt=receipt, messages=(Message(role="assistant", content="You are welcome."),), decisions=(0,))
        number = int(text.split()[1])
        taken = number + self.error * (number % 2)
        self.environment.worlds[conversation] = taken
        result = Message(role="tool", content=str(taken), tool_call_id="c")
        messages = (call(taken), result, Message(role="assistant", content="Done!"))
        return Reply(receipt=receipt, messages=messages, decisions=(0, None, 1), num_tokens=7, seconds=0.1)


class Sink:
    def __init__(self) -> None:
        self.added: list[tuple[Any, ...]] = []

    def add(self, receipt: str, kind: str, value: Any, source: str, role: str, step: int | None = None) -> None:
        self.added.append((receipt, kind, value, source, role, step))


def result_of(channel_error: int, wanted: int) -> tuple[Counting, EpisodeResult]:
    environment = Counting()
    goal = Goal(id="g", kind="add", spec={"wanted": wanted})
    return environment, run_episode(environment, goal, Adder(environment, channel_error))


def test_a_right_episode() -> None:
    environment, result = result_of(0, 3)
    assert result.outcome.success
    assert [m.role for m in result.transcript] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert [(d.step, d.exact) for d in result.decisions] == [(0, True), (1, True), (0, True)]
    item = result.item()
    assert (item.id, item.value, item.metrics["calls"], item.metrics["exact"], item.num_tokens) == ("g", 1.0, 1.0, 1.0, 7)
    assert environment.episodes[0].closed


def test_after_a_wrong_decision_the_turn_teaches_no_more() -> None:
    _, result = result_of(1, 3)
    assert not result.outcome.success
    assert [(d.receipt, d.step, d.named, d.exact) for d in result.decisions] == [("turn-g-add", 0, True, False), ("turn-g-thanks", 0, True, True)]
    assert result.item().metrics == {"success": 0.0, "calls": 1.0, "exact": 0.0, "named": 1.0}


def test_feedback_is_bound_to_receipts_and_steps() -> None:
    environment, result = result_of(1, 3)
    sink = Sink()
    assert record_feedback(sink, environment, result, corrections=True) == 4
    assert sink.added[:2] == [
        ("turn-g-thanks", "outcome", {"success": False, "reason": "holds 4"}, "counting", "environment", None),
        ("turn-g-thanks", "thumb", False, "guest-1", "user", None),
    ]
    assert sink.added[2] == ("turn-g-add", "demonstration", call(3).to_openai(), "colleague", "operator", 0)
    assert record_feedback(Sink(), environment, result, corrections=False) == 2


def test_many_episodes_come_back_in_the_order_of_the_goals() -> None:
    environment = Counting()
    seen: list[str] = []
    goals = environment.goals("evaluation", 20, seed=7)
    results = run_episodes(environment, goals, Adder(environment, 1), concurrency=4, on_result=lambda r: seen.append(r.goal.id))
    assert [r.goal for r in results] == goals
    assert [r.outcome.success for r in results] == [k % 2 == 0 for k in range(20)]
    assert sorted(seen) == sorted(g.id for g in goals)


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def begin(self, episode: Episode) -> None: ...

    def say(self, conversation: None, text: str) -> Reply:
        raise self.error


def test_an_agent_that_gives_up_has_not_served_its_guest() -> None:
    environment = Counting()
    result = run_episode(environment, environment.goals("train", 1, 0)[0], Broken(AgentError("No decision.")))
    assert result.outcome == Outcome(success=False, reason="The agent gave up: No decision.")
    assert record_feedback(Sink(), environment, result, corrections=True) == 0
    assert environment.episodes[0].closed


def test_our_own_failure_stops_the_run() -> None:
    environment = Counting()
    channel: Channel = Broken(StoreError("The disk is full."))
    with pytest.raises(StoreError):
        run_episodes(environment, environment.goals("train", 3, 0), channel)


def test_a_guest_who_never_leaves_is_ended() -> None:
    environment = Counting()
    result = run_episode(environment, Goal(id="g", kind="add", spec={"wanted": 1, "patience": 99}), Adder(environment))
    assert len(result.replies) == MAX_TURNS
