"""A project's records with the model's decisions in them, built as the agent builds them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from noria.schema import Conversation, Message, ToolCall, ToolSpec, Turn
from noria.store import Database, FeedbackLog, Traces

TOOLS = [
    ToolSpec(name="find", parameters={"type": "object", "properties": {"day": {"type": "string"}}}),
    ToolSpec(name="book", parameters={"type": "object", "properties": {"n": {"type": "integer"}}}, effect="writes"),
]
SYSTEM = Message(role="system", content="You are the desk.")


class Records:
    """Writes turns; time goes on by an hour with each look."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.traces = Traces(database, self)
        self.log = FeedbackLog(database, self)
        self._now = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=1)
        return self._now

    def conversation(self, user: str = "ada") -> Conversation:
        return self.traces.start_conversation("rel_1", user, date(2026, 3, 4))

    def turn(self, conversation: Conversation, text: str, decisions: Sequence[Message | str], tools: Sequence[ToolSpec] = TOOLS) -> Turn:
        """A user's text and what the model decided, calls being answered with `ok`; the last one is the answer."""
        turn = self.traces.start_turn(conversation.id, [Message(role="user", content=text)])
        answer: Message | None = None
        for decision in decisions:
            answer = decision if isinstance(decision, Message) else Message(role="assistant", content=decision)
            shown = self.traces.put_messages([SYSTEM, *self.traces.history(conversation.id)])
            step = self.traces.start_step(turn.id, "model", {"messages": shown, "tools": self.traces.put_tools(tools)})
            self.traces.finish_step(step.id, "done", {}, [answer])
            for made in answer.tool_calls:
                step = self.traces.start_step(turn.id, "tool", {"call": made.model_dump()})
                self.traces.finish_step(step.id, "done", {}, [Message(role="tool", content="ok", tool_call_id=made.id)])
        return self.traces.finish_turn(turn.id, "done", answer)


def call(name: str, call_id: str = "c1", **arguments: object) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id=call_id, name=name, arguments=arguments),))


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Database.open(f"sqlite:///{tmp_path}/noria.db") as database:
        yield Records(database)


@pytest.fixture
def make_call():
    return call
