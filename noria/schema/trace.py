"""What happened: conversations, their turns, and the steps of a turn. Append-only; a step is committed before its effect."""

from datetime import date, datetime
from typing import Any, Literal

from noria.schema.messages import Message, Record

StepKind = Literal["model", "tool", "retrieval", "flow", "guard"]
StepState = Literal["started", "done", "failed"]
TurnState = Literal["open", "done", "failed", "cancelled"]


class Conversation(Record):
    """A dialogue of one user with one release; it keeps that release to its end."""

    id: str
    release_id: str
    user_id: str
    today: date
    """The day on which the conversation began; relative dates are read against it."""
    created_at: datetime
    metadata: dict[str, str] = {}


class Turn(Record):
    """One user message and everything done until the answer. `id` is the receipt."""

    id: str
    conversation_id: str
    index: int
    state: TurnState
    created_at: datetime
    answer: Message | None = None


class Step(Record):
    """One model call, tool call, retrieval, flow move or guard decision.

    `idempotency_key` of a tool step stays the same when the step is run again after a kill.
    A model step's `inputs` hold `messages` (content addresses, in order), `tools` (one content address) and the sampling settings; its
    token ids and log-probabilities are in `prompt_token_ids`, `token_ids`, `logprobs`.
    """

    id: str
    turn_id: str
    index: int
    kind: StepKind
    state: StepState
    idempotency_key: str
    position: int = 0
    """How many messages the conversation had when the step began."""
    inputs: dict[str, Any]
    output: dict[str, Any] | None = None
    started_at: datetime
    ended_at: datetime | None = None
    prompt_token_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
