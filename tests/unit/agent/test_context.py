"""The ledger: what gives way, in which order, and that it always says so."""

from collections.abc import Sequence

import pytest

from noria.agent.context import fit
from noria.errors import ContextOverflowError
from noria.schema import Message, ToolCall, ToolSpec

SYSTEM = Message(role="system", content="You are a desk.")


def count(messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
    return sum(len(m.content) for m in messages) + 10 * len(tools)


def turn(number: int, result: str = "") -> list[Message]:
    messages = [Message(role="user", content=f"question {number:03d}")]
    if result:
        call = ToolCall(id=f"c{number}", name="look", arguments={})
        messages += [Message(role="assistant", tool_calls=(call,)), Message(role="tool", content=result, tool_call_id=call.id)]
    return [*messages, Message(role="assistant", content=f"answer {number:05d}")]


def test_what_fits_is_kept_whole() -> None:
    history = turn(1) + turn(2)
    messages, ledger = fit(SYSTEM, history, (), count, 1000, 100)
    assert messages == (SYSTEM, *history)
    assert (ledger.num_messages, ledger.num_shortened, ledger.num_dropped, ledger.prompt_tokens) == (4, 0, 0, count(messages))


def test_old_tool_results_are_shortened_first_with_a_note() -> None:
    history = turn(1, result="r" * 500) + turn(2)
    messages, ledger = fit(SYSTEM, history, (), count, 400, 100)
    assert messages[3].content == "r" * 120 + " [cut: 380 characters left out]"
    assert (ledger.num_messages, ledger.num_shortened, ledger.num_dropped) == (6, 1, 0)


def test_then_oldest_turns_are_dropped_and_the_model_is_told() -> None:
    history = [m for i in range(20) for m in turn(i)]
    messages, ledger = fit(SYSTEM, history, (), count, 400, 100)
    assert messages[0].content == f"You are a desk.\n[The first {ledger.num_dropped} messages of this conversation are left out here.]"
    assert ledger.num_dropped % 8 == 0  # whole turns, four at a time
    assert messages[1:] == tuple(history[ledger.num_dropped :])
    assert count(messages) == ledger.prompt_tokens <= 300


def test_the_present_turn_never_gives_way() -> None:
    history = [*turn(1), Message(role="user", content="x" * 500)]
    with pytest.raises(ContextOverflowError) as caught:
        fit(SYSTEM, history, (), count, 400, 100)
    assert caught.value.prompt_tokens > 500


def test_tools_count() -> None:
    spec = ToolSpec(name="look", parameters={"type": "object", "properties": {}})
    _, ledger = fit(SYSTEM, turn(1), (spec,), count, 1000, 100)
    assert ledger.prompt_tokens == count((SYSTEM, *turn(1))) + 10
