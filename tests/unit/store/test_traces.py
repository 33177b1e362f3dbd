from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import event, func, select

from noria.errors import DataError, StoreError
from noria.schema import Conversation, Generation, Message, ToolCall, ToolSpec, Turn
from noria.store import Database, Traces, tables

TODAY = date(2026, 3, 4)
Say = Callable[[str, str], Message]


def begin(traces: Traces, *messages: Message) -> tuple[Conversation, Turn]:
    conversation = traces.start_conversation("rel_1", "ada", TODAY, {"channel": "web"})
    return conversation, traces.start_turn(conversation.id, messages)


def generated(message: Message, prompt: range = range(3)) -> Generation:
    return Generation(
        message=message,
        text=message.content,
        finish_reason="stop",
        prompt_token_ids=tuple(prompt),
        token_ids=(7, 2**31 - 1),
        logprobs=(-0.5, -1.25),
        num_prompt_tokens=len(prompt),
        num_completion_tokens=2,
        first_token_seconds=0.1,
        seconds=0.2,
    )


def test_a_turn_comes_back_as_it_was(traces: Traces, say: Say) -> None:
    hello = Message(role="user", content="你好, a table for 2026-03-05?", hints=("2026-03-05",))
    conversation, turn = begin(traces, hello)
    call = Message(role="assistant", tool_calls=(ToolCall(id="c1", name="find_table", arguments={"date": "2026-03-05", "guests": 2}),))
    step = traces.start_step(turn.id, "model", {"messages": [hello.hash], "temperature": 0.5})
    assert (step.index, step.state, step.position) == (0, "started", 1)
    done = traces.finish_step(step.id, "done", {"decision": "call"}, [call], generated(call))
    assert done.token_ids == (7, 2**31 - 1)
    assert done.logprobs == (-0.5, -1.25)
    tool = traces.start_step(turn.id, "tool", {"name": "find_table"}, idempotency_key="key-1")
    result = Message(role="tool", content='{"free":true}', tool_call_id="c1")
    traces.finish_step(tool.id, "done", {"free": True}, [result])
    answer = say("assistant", "Yes.")
    ended = traces.finish_turn(turn.id, "done", answer)
    assert ended == traces.turn(turn.id) == traces.turns(conversation.id)[0]
    assert ended.answer == answer
    assert traces.history(conversation.id) == [hello, call, result, answer]
    assert traces.conversation(conversation.id) == conversation
    first, second = traces.steps(turn.id)
    assert first == done
    assert first.inputs == {"messages": [hello.hash], "temperature": 0.5}
    assert (second.idempotency_key, second.position, second.output) == ("key-1", 2, {"free": True})
    assert [(e.position, e.step_id) for e in traces.transcript(conversation.id)] == [(0, None), (1, first.id), (2, second.id), (3, None)]
    (bare,) = traces.conversation_steps(conversation.id, "model")
    assert (bare.id, bare.inputs, bare.token_ids) == (first.id, first.inputs, ())


def test_the_answer_is_not_appended_twice(traces: Traces, say: Say) -> None:
    conversation, turn = begin(traces, say("user", "hi"))
    step = traces.start_step(turn.id, "model", {})
    answer = say("assistant", "hello")
    traces.finish_step(step.id, "done", {}, [answer])
    first = traces.finish_turn(turn.id, "done", answer)
    assert traces.finish_turn(turn.id, "done", answer) == first
    assert traces.history(conversation.id) == [say("user", "hi"), answer]
    with pytest.raises(StoreError, match="already ended as 'done'"):
        traces.finish_turn(turn.id, "failed")
    with pytest.raises(StoreError, match="already ended"):
        traces.append(turn.id, answer)
    with pytest.raises(StoreError, match="already ended"):
        traces.start_step(turn.id, "model", {})


def test_a_step_ends_with_its_messages_or_not_at_all(traces: Traces, say: Say) -> None:
    conversation, turn = begin(traces, say("user", "hi"))
    step = traces.start_step(turn.id, "model", {})
    with pytest.raises(DataError, match="`output` cannot be stored as JSON"):
        traces.finish_step(step.id, "done", {"bad": object()}, [say("assistant", "half")])
    assert traces.history(conversation.id) == [say("user", "hi")]
    assert traces.steps(turn.id)[0].state == "started"
    traces.finish_step(step.id, "failed", None)
    with pytest.raises(StoreError, match="already ended as 'failed'"):
        traces.finish_step(step.id, "done", {})


def test_a_step_run_again_under_its_key_is_the_same_step(traces: Traces, say: Say) -> None:
    _, turn = begin(traces, say("user", "hi"))
    first = traces.start_step(turn.id, "tool", {"name": "book"}, idempotency_key="k")
    assert traces.start_step(turn.id, "tool", {"name": "book"}, idempotency_key="k") == first
    ended = traces.finish_step(first.id, "done", {"id": 1})
    assert traces.start_step(turn.id, "tool", {"name": "book"}, idempotency_key="k") == ended
    assert [s.id for s in traces.open_turns()] == [turn.id]
    assert len(traces.steps(turn.id)) == 1


def test_equal_messages_are_stored_once(traces: Traces, database: Database, say: Say) -> None:
    for _ in range(3):
        begin(traces, say("user", "hi"), say("user", "hi"))
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.messages)).scalar() == 1
    address = say("user", "hi").hash
    assert traces.put_message(say("user", "hi")) == address
    assert traces.message(address) == say("user", "hi")
    with pytest.raises(StoreError, match="is not in the database"):
        traces.message("0" * 64)


def test_long_prompts_share_their_chunks(traces: Traces, database: Database, say: Say) -> None:
    _, turn = begin(traces, say("user", "hi"))
    lengths = [5_000 + 100 * n for n in range(20)]
    for length in lengths:
        step = traces.start_step(turn.id, "model", {})
        traces.finish_step(step.id, "done", {}, generation=generated(say("assistant", "a"), range(length)))
    assert [len(s.prompt_token_ids) for s in traces.steps(turn.id)] == lengths
    assert traces.steps(turn.id)[-1].prompt_token_ids == tuple(range(lengths[-1]))
    with database.read() as connection:
        stored = connection.execute(select(func.sum(func.length(tables.blobs.c.data)))).scalar()
    assert stored is not None
    assert stored < 0.2 * 4 * sum(lengths)


def test_blobs_and_tools(traces: Traces) -> None:
    for data in (b"", b"x", bytes(range(256)) * 33, b"a" * 100_000):
        assert traces.blob(traces.put_blob(data)) == data
    tools = [ToolSpec(name="book", description="Books.", parameters={"type": "object"}, effect="writes")]
    assert traces.tools(traces.put_tools(tools)) == tools


def count_statements(database: Database, work: Callable[[], Any]) -> list[tuple[str, int]]:
    """The statements that `work` runs, each with the number of its rows."""
    seen: list[tuple[str, int]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement.split("(", 1)[0].split(" WHERE")[0], len(parameters) if many else 1))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return seen


def test_turn_n_plus_1_costs_as_much_as_turn_2(traces: Traces, database: Database, say: Say) -> None:
    conversation = traces.start_conversation("rel_1", "ada", TODAY)

    def one_turn(number: int) -> None:
        turn = traces.start_turn(conversation.id, [say("user", f"question {number}")])
        step = traces.start_step(turn.id, "model", {"temperature": 0})
        answer = say("assistant", f"answer {number}")
        traces.finish_step(step.id, "done", {}, [answer], generated(answer))
        traces.finish_turn(turn.id, "done", answer)

    one_turn(0)
    early = count_statements(database, lambda: one_turn(1))
    for number in range(2, 30):
        one_turn(number)
    late = count_statements(database, lambda: one_turn(30))
    assert late == early
    assert len(early) <= 40
    assert max(rows for _, rows in early) <= 5
    assert len(traces.history(conversation.id)) == 2 * 31
    assert len(count_statements(database, lambda: traces.history(conversation.id))) <= 2


def test_conversations_are_found_by_what_they_hold(traces: Traces, say: Say) -> None:
    hello = Message(role="user", content="hi", hints=("2026-03-05",))
    conversation, turn = begin(traces, hello)
    call = Message(role="assistant", tool_calls=(ToolCall(id="c1", name="f", arguments={}),))
    traces.append(turn.id, call)
    traces.append(turn.id, Message(role="tool", content="1", tool_call_id="c1"))
    assert traces.find_by_history([say("user", "hi")]) is None, "an unfinished turn is not seen by its client"
    answer = say("assistant", "hello")
    traces.finish_turn(turn.id, "done", answer)
    seen = [say("user", "hi"), answer]
    assert traces.find_by_history(seen) == conversation
    assert traces.find_by_history(traces.history(conversation.id)) == conversation
    newer, turn = begin(traces, say("user", "hi"))
    traces.finish_turn(turn.id, "done", answer)
    assert traces.find_by_history(seen) == newer
    failed = traces.start_turn(newer.id, [say("user", "more")])
    traces.finish_turn(failed.id, "failed")
    assert traces.find_by_history(seen) == newer, "a client sends a failed turn again"
    assert traces.find_by_history([]) is None
    assert traces.find_by_history([*seen, say("user", "other")]) is None


def test_conversations_page_from_the_newest(traces: Traces, say: Say) -> None:
    ids = [begin(traces, say("user", str(i)))[0].id for i in range(5)]
    page = traces.conversations(limit=2)
    assert [c.id for c in page] == [ids[4], ids[3]]
    assert [c.id for c in traces.conversations(limit=9, before=page[-1].id)] == [ids[2], ids[1], ids[0]]
    receipts = [t.id for t in traces.open_turns()]
    assert [traces.conversations_of([*receipts, "turn_unknown"])[r].id for r in receipts] == ids


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda t: t.start_turn("conv_none", [Message(role="user", content="x")]), "No conversation has the id 'conv_none'"),
        (lambda t: t.append("turn_none", Message(role="user", content="x")), "No turn has the id 'turn_none'"),
        (lambda t: t.finish_step("step_none", "done", {}), "No step has the id 'step_none'"),
        (lambda t: t.finish_turn("turn_none", "open"), "ends as 'done', 'failed' or 'cancelled', not 'open'"),
        (lambda t: t.start_step("turn_none", "dance", {}), "Step `kind` is 'dance'; allowed: model, tool"),
        (lambda t: t.put_message(Message(role="user", content="\ud800")), "half of a character pair"),
    ],
)
def test_what_does_not_exist_is_named(traces: Traces, act: Callable[[Traces], Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        act(traces)


def test_text_of_any_kind_is_kept(traces: Traces) -> None:
    message = Message(role="user", content="zero\x00 tab\t 😀 中文 'quote' \\u0000 \u2028")
    conversation, _ = begin(traces, message)
    assert traces.history(conversation.id) == [message]
