"""The context ledger: which messages of a conversation go to the model, and what was left out.

In: system prompt, tools, all messages so far, the room of the model. Out: the messages that fit and a `Ledger` that says what was kept whole,
shortened or dropped. Order of giving way: results of tools in earlier turns are shortened, then whole earlier turns are dropped, oldest first. The
system prompt, the tools and the present turn never give way; where they do not fit the call is refused. The model is told what was dropped.
"""

from collections.abc import Callable, Sequence

from noria.errors import ContextOverflowError
from noria.schema import Message, Record, ToolSpec

SHORT_RESULT_CHARACTERS = 120
"""What stays of a tool's result in an earlier turn, once there is no room for all."""
DROP_STEP = 4
"""Turns are dropped in multiples of this, so that the beginning of the prompt stays the same for several turns (engines reuse it)."""

Counter = Callable[[Sequence[Message], Sequence[ToolSpec]], int]


class Ledger(Record):
    """What a prompt was made of."""

    num_messages: int
    """Messages of the conversation that were kept whole or shortened."""
    num_shortened: int = 0
    """Tool results of which only the beginning was kept."""
    num_dropped: int = 0
    """Messages left out: the oldest."""
    prompt_tokens: int
    context_tokens: int


def fit(
    system: Message, history: Sequence[Message], tools: Sequence[ToolSpec], count: Counter, context_tokens: int, max_tokens: int
) -> tuple[tuple[Message, ...], Ledger]:
    """Messages (system first) that leave `max_tokens` of room, and the ledger.

    Raises:
        ContextOverflowError: not even the system prompt, the tools and the present turn fit.
    """
    room = context_tokens - max_tokens

    def tokens(messages: Sequence[Message]) -> int:
        return count((system, *messages), tools)

    used = tokens(history)
    if used <= room:
        return (system, *history), Ledger(num_messages=len(history), prompt_tokens=used, context_tokens=context_tokens)
    turns = _turns(history)
    earlier, present = turns[:-1], turns[-1] if turns else []
    shortened = [[_shortened(m) for m in turn] for turn in earlier]
    num_dropped_turns = 0
    while True:
        kept = [m for turn in shortened[num_dropped_turns:] for m in turn]
        num_dropped = sum(len(turn) for turn in earlier[:num_dropped_turns])
        head = _with_note(system, num_dropped)
        used = count((head, *kept, *present), tools)
        if used <= room:
            break
        if num_dropped_turns >= len(earlier):
            raise ContextOverflowError(used, max_tokens, context_tokens)
        num_dropped_turns = min(num_dropped_turns + DROP_STEP, len(earlier))
    original = [m for turn in earlier[num_dropped_turns:] for m in turn]
    ledger = Ledger(
        num_messages=len(kept) + len(present),
        num_shortened=sum(a is not b for a, b in zip(original, kept, strict=True)),
        num_dropped=num_dropped,
        prompt_tokens=used,
        context_tokens=context_tokens,
    )
    return (head, *kept, *present), ledger


def _turns(history: Sequence[Message]) -> list[list[Message]]:
    """Messages in groups that each begin where a user speaks."""
    turns: list[list[Message]] = []
    for index, message in enumerate(history):
        if not turns or (message.role == "user" and history[index - 1].role != "user"):
            turns.append([])
        turns[-1].append(message)
    return turns


def _shortened(message: Message) -> Message:
    if message.role != "tool" or len(message.content) <= SHORT_RESULT_CHARACTERS + 60:
        return message
    left_out = len(message.content) - SHORT_RESULT_CHARACTERS
    return message.model_copy(update={"content": f"{message.content[:SHORT_RESULT_CHARACTERS]} [cut: {left_out} characters left out]"})


def _with_note(system: Message, num_dropped: int) -> Message:
    if not num_dropped:
        return system
    return system.model_copy(update={"content": f"{system.content}\n[The first {num_dropped} messages of this conversation are left out here.]"})
