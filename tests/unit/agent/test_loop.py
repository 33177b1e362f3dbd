"""The loop on a real store with scripted decisions: what is stored, refused, asked, resumed and cancelled."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from noria.agent import Agent, AgentConfig, StepEvent, Toolbox, ToolContext, TurnEvent, tool
from noria.agent.phrases import is_yes
from noria.errors import ConfigError, ContextOverflowError, DataError, ModelError, ToolFailed
from noria.schema import Delta, Message, Passage, Step, Turn
from noria.store import Database, Traces
from noria.testing import ScriptedGenerator

TODAY = date(2026, 3, 3)


class World:
    """Tools that write down what was done, under which key."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def toolbox(self) -> Toolbox:
        done = self.done

        @tool
        def look(day: date) -> str:
            """Look

            Args:
                day: The day.
            """
            done.append(("look", str(day)))
            return f"free on {day}"

        @tool(effect="writes")
        def book(guests: int, ctx: ToolContext) -> dict[str, int]:
            """Book a table"""
            done.append((f"book {guests}", ctx.idempotency_key))
            return {"booked": guests}

        @tool(effect="writes")
        def ring() -> str:
            """Ring the bell"""
            done.append(("ring", ""))
            return "rung"

        @tool(effect="writes", confirm=True)
        def cancel(code: str, ctx: ToolContext) -> str:
            """Cancel a booking"""
            done.append((f"cancel {code}", ctx.idempotency_key))
            return "cancelled"

        @tool
        def full() -> str:
            """Full"""
            raise ToolFailed("All full.")

        return Toolbox([look, book, ring, cancel, full])


class Pages:
    def search(self, query: str, num_results: int = 3) -> list[Passage]:
        return [Passage(id="1", document="faq.md", title="FAQ", text=f"about {query}", score=1.0)][:num_results]


class Desk:
    """An agent in a world, and shortcuts to look at what happened."""

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.database = Database.open(f"sqlite:///{folder / 'noria.db'}")
        self.traces = Traces(self.database)
        self.conversation = self.traces.start_conversation("r1", "ann", TODAY)
        self.folder = folder

    def agent(self, script: Iterable[Any] | Callable[..., Any], **options: Any) -> Agent:
        self.generator = ScriptedGenerator(script, context_tokens=options.pop("context_tokens", 8192))
        return Agent(self.generator, self.world.toolbox(), self.traces, state_dir=self.folder, system_prompt="You are a desk.", **options)

    def say(self, text: str, script: Iterable[Any], **options: Any) -> tuple[str, list[Step], Turn]:
        """Text shown, steps and turn of one answer."""
        events = list(self.agent(script, **options).respond(self.conversation.id, [Message(role="user", content=text)]))
        self.generator.close()
        return read(events)

    def kinds(self, turn: Turn) -> list[tuple[str, str]]:
        return [(step.kind, step.state) for step in self.traces.steps(turn.id)]


def read(events: Iterable[Any]) -> tuple[str, list[Step], Turn]:
    events = list(events)
    assert isinstance(events[-1], TurnEvent)
    text = "".join(event.text for event in events if isinstance(event, Delta))
    return text, [event.step for event in events if isinstance(event, StepEvent)], events[-1].turn


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.database.close()


def test_a_tool_call_then_a_reply_are_stored_as_they_happened(desk: Desk) -> None:
    text, steps, turn = desk.say("A table for two tomorrow at 7 pm", [{"book": {"guests": 2}}, "Done: a table for two."])
    assert text == "Done: a table for two."
    assert (turn.state, turn.answer and turn.answer.content) == ("done", text)
    assert [(s.kind, s.state) for s in steps] == [("model", "done"), ("tool", "done"), ("model", "done")] == desk.kinds(turn)
    assert desk.world.done == [("book 2", steps[1].idempotency_key)]
    history = desk.traces.history(desk.conversation.id)
    assert [m.role for m in history] == ["user", "assistant", "tool", "assistant"]
    assert history[0].hints == ("2026-03-04", "19:00")
    assert history[2].content == '{"booked":2}'
    assert history[2].tool_call_id == history[1].tool_calls[0].id
    assert steps[2].token_ids == tuple(range(len(text)))
    prompt = desk.traces.messages(steps[2].inputs["messages"])
    assert prompt == [Message(role="system", content="You are a desk.\nToday is Tuesday, 2026-03-03."), *history[:3]]
    assert [t.name for t in desk.traces.tools(steps[2].inputs["tools"])] == ["look", "book", "ring", "cancel", "full"]


def test_calls_are_never_shown_replies_as_they_are_made(desk: Desk) -> None:
    events = list(desk.agent([{"ring": {}}, "A long reply in pieces."]).respond(desk.conversation.id, [Message(role="user", content="Ring")]))
    deltas = [event.text for event in events if isinstance(event, Delta)]
    assert len(deltas) > 3
    assert "".join(deltas) == "A long reply in pieces."


def test_wrong_calls_go_back_to_the_model_and_are_counted(desk: Desk) -> None:
    script = [{"book": {"guests": "many"}}, {"fly": {}}, {"book": {"guests": 3}}, "Booked."]
    _, steps, turn = desk.say("A table", script)
    assert [s.output["decision"] for s in steps if s.kind == "guard" and s.output] == ["retry", "retry"]
    history = desk.traces.history(desk.conversation.id)
    assert history[2].content == "Argument `guests` of `book` is 'many'; it must be a whole number."
    assert history[4].content.startswith("There is no tool `fly`; the tools are: look, book")
    assert (turn.state, len(desk.world.done)) == ("done", 1)


def test_too_many_wrong_calls_end_in_a_fixed_honest_reply_in_the_users_language(desk: Desk) -> None:
    text, steps, turn = desk.say("给我订一张桌子", [{"fly": {"n": i}} for i in range(3)], config=AgentConfig(max_retries=2))
    assert text == "抱歉，我没能处理好这个请求。您可以换一种说法吗？"
    assert (turn.answer and turn.answer.content, steps[-1].output) == (text, {"decision": "stop", "reason": "retries"})


def test_the_same_call_again_is_refused_unless_something_changed(desk: Desk) -> None:
    look = {"look": {"day": "2026-03-04"}}
    _, steps, _ = desk.say("Free?", [look, look, {"book": {"guests": 2}}, look, "Yes."])
    assert [name for name, _ in desk.world.done] == ["look", "book 2", "look"]
    assert "already called" in str([s.output for s in steps if s.kind == "guard"])


def test_budgets_end_with_a_fixed_reply(desk: Desk) -> None:
    calls = [{"look": {"day": f"2026-03-{i:02d}"}} for i in range(1, 4)]
    text, steps, turn = desk.say("Go", calls, config=AgentConfig(max_steps=3))
    assert text.startswith("I have reached the limit")
    assert steps[-1].output == {"decision": "stop", "reason": "max_steps"}
    assert turn.state == "done"
    _, steps, _ = desk.say("Go", calls[:1], config=AgentConfig(max_turn_tokens=8))
    assert steps[-1].output == {"decision": "stop", "reason": "max_turn_tokens"}


def test_broken_decisions_are_sampled_anew_and_leave_no_trace_in_the_conversation(desk: Desk) -> None:
    text, steps, _ = desk.say("Hi", ["", '{"book"', "Hello!"])
    assert text == "Hello!"
    assert [s.state for s in steps] == ["failed", "failed", "done"]
    assert [request.temperature for request in desk.generator.requests] == [0.0, 0.7, 0.7]
    assert [m.content for m in desk.traces.history(desk.conversation.id)] == ["Hi", "Hello!"]


def test_knowledge_is_a_tool_and_its_passages_are_kept(desk: Desk) -> None:
    _, steps, _ = desk.say("When is breakfast?", [{"search_knowledge": {"query": "breakfast"}}, "At seven."], retriever=Pages())
    assert (steps[1].kind, steps[1].output and steps[1].output["passages"][0]["document"]) == ("retrieval", "faq.md")
    assert desk.traces.history(desk.conversation.id)[2].content == "[1] FAQ: about breakfast"


def test_a_tool_of_the_project_may_not_take_the_name_of_the_knowledge_search(desk: Desk) -> None:
    @tool
    def search_knowledge(query: str) -> str:
        """Mine"""
        return query

    with pytest.raises(ConfigError, match="Rename the project's tool"):
        Agent(ScriptedGenerator(), Toolbox([search_knowledge]), desk.traces, state_dir=desk.folder, retriever=Pages())


def test_confirmation_is_asked_once_and_a_yes_runs_exactly_that_call(desk: Desk) -> None:
    text, steps, turn = desk.say("Cancel Q1", [{"cancel": {"code": "Q1"}}])
    assert text == "Shall I do this: Cancel a booking (code: Q1)? Please answer yes or no."
    assert (steps[-1].kind, steps[-1].output, turn.state, desk.world.done) == ("guard", {"decision": "ask"}, "done", [])
    text, steps, _ = desk.say("Yes, please", ["It is cancelled."])
    assert [s.kind for s in steps] == ["flow", "tool", "model"]
    assert [name for name, _ in desk.world.done] == ["cancel Q1"]
    _, _, _ = desk.say("yes", ["What for?"])  # a second yes runs nothing
    assert len(desk.world.done) == 1


def test_a_no_runs_nothing_and_a_yes_to_something_else_confirms_nothing(desk: Desk) -> None:
    desk.say("Cancel Q1", [{"cancel": {"code": "Q1"}}])
    desk.say("no, don't", ["Fine, it stays."])
    text, _, _ = desk.say("yes", [{"cancel": {"code": "Q1"}}])
    assert text.startswith("Shall I do this")
    assert desk.world.done == []


def test_a_yes_counts_for_the_call_asked_about_and_once(desk: Desk) -> None:
    desk.say("Cancel Q1", [{"cancel": {"code": "Q1"}}])
    text, _, _ = desk.say("yes", [{"cancel": {"code": "Q12"}}])  # what was asked runs; the model then wants another
    assert text.startswith("Shall I do this")
    assert [name for name, _ in desk.world.done] == ["cancel Q1"]
    text, _, _ = desk.say("yes", ["Done."])
    assert [name for name, _ in desk.world.done] == ["cancel Q1", "cancel Q12"]


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("Yes, please", True),
        ("ok", True),
        ("好的，谢谢", True),
        ("是的。", True),
        ("可以", True),
        ("嗯，好的", True),
        ("要多少钱", False),
        ("行李放哪里", False),
        ("嗯，算了", False),
        ("可以，但是八点", False),
        ("yesterday", False),
        ("no", False),
    ],
)
def test_only_a_plain_yes_is_one(text: str, yes: bool) -> None:
    assert is_yes(text) == yes


def test_a_tool_that_fails_is_told_to_the_model(desk: Desk) -> None:
    _, steps, turn = desk.say("Is it full?", [{"full": {}}, "It is full."])
    assert (steps[1].state, steps[1].output, turn.state) == ("failed", {"state": "failed", "content": "All full."}, "done")


def test_closing_the_iterator_cancels_the_turn(desk: Desk) -> None:
    events = desk.agent(["A reply that takes a while to write."]).respond(desk.conversation.id, [Message(role="user", content="Hi")])
    assert isinstance(next(events), Delta)
    events.close()
    turn = desk.traces.turns(desk.conversation.id)[0]
    assert (turn.state, turn.answer, desk.generator.num_cancelled, desk.kinds(turn)) == ("cancelled", None, 1, [("model", "failed")])
    text, _, _ = desk.say("Hi again", ["Hello!"])
    assert text == "Hello!"


def test_cancelled_between_decision_and_tool_leaves_no_call_without_result(desk: Desk) -> None:
    events = desk.agent([{"ring": {}}]).respond(desk.conversation.id, [Message(role="user", content="Ring")])
    assert isinstance(next(events), StepEvent)
    events.close()
    assert [m.role for m in desk.traces.history(desk.conversation.id)] == ["user", "assistant", "tool"]
    assert desk.world.done == []


def test_a_failing_model_fails_the_turn_and_is_raised(desk: Desk) -> None:
    with pytest.raises(ModelError, match="out of memory"):
        desk.say("Hi", [ModelError("out of memory")])
    turn = desk.traces.turns(desk.conversation.id)[0]
    assert (turn.state, desk.kinds(turn)) == ("failed", [("model", "failed")])


def test_a_message_that_does_not_fit_is_refused_not_cut(desk: Desk) -> None:
    with pytest.raises(ContextOverflowError):
        desk.say("x" * 9000, [], context_tokens=2000)
    assert desk.traces.turns(desk.conversation.id)[0].state == "failed"


def test_wrong_input_is_refused_before_anything_is_stored(desk: Desk) -> None:
    agent = desk.agent([])
    with pytest.raises(DataError, match="must be of role `user`"):
        next(agent.respond(desk.conversation.id, [Message(role="assistant", content="Hi")]))
    with pytest.raises(DataError, match="No conversation has the id"):
        next(agent.respond("conv_none", [Message(role="user", content="Hi")]))
    assert desk.traces.turns(desk.conversation.id) == []


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing of ours catches it (tests/invariants/test_kill.py kills for true)."""


class DyingTraces(Traces):
    """A store whose process dies after a tool acted and before its step is finished."""

    def finish_step(self, step_id: str, state: Any, output: Any, *args: Any) -> Step:
        if output and "content" in output:
            raise Killed
        return super().finish_step(step_id, state, output, *args)


def killed_in_tool(desk: Desk, call: dict[str, Any]) -> Turn:
    living, desk.traces = desk.traces, DyingTraces(desk.database)
    with pytest.raises(Killed):
        desk.say("Go", [call])
    desk.traces = living
    return desk.traces.open_turns()[0]


def test_after_a_kill_a_tool_with_the_key_runs_again_under_the_same_key(desk: Desk) -> None:
    turn = killed_in_tool(desk, {"book": {"guests": 2}})
    text, _, ended = read(desk.agent(["Booked."]).resume(turn))
    assert (text, ended.state, ended.id) == ("Booked.", "done", turn.id)
    assert len(desk.world.done) == 2
    assert len(set(desk.world.done)) == 1  # the same key: the tool itself knows that it is done
    assert desk.kinds(turn) == [("model", "done"), ("tool", "done"), ("model", "done")]


def test_after_a_kill_a_tool_without_key_is_never_run_twice(desk: Desk) -> None:
    turn = killed_in_tool(desk, {"ring": {}})
    text, _, ended = read(desk.agent([]).resume(turn))
    assert text.startswith("I was interrupted while doing this: Ring the bell.")
    assert (ended.state, desk.world.done) == ("done", [("ring", "")])
    assert desk.traces.open_turns() == []
