"""The seam to an environment: a world with goals, a guest who speaks, tools that act on it, and a judge of the end state."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol

from noria.schema.messages import Message, Record


class Goal(Record):
    """What one simulated guest wants. The same goal always meets the same world."""

    id: str
    kind: str
    language: Literal["en", "zh"] = "en"
    spec: dict[str, Any]


class Outcome(Record):
    """How an episode ended, judged from the world's end state, never from what was said."""

    success: bool
    reason: str


class Episode(Protocol):
    """One guest with one goal in a world of its own."""

    goal: Goal
    state_dir: Path
    """The folder of this episode's world, given to tools as `ToolContext.state_dir`."""
    today: date
    """The day of this world: the conversation begins on it, and tools get it as `ToolContext.today`."""
    user_id: str
    """Who the guest is: the conversation and `ToolContext.user_id` carry it, and tools may check that a record is the guest's own."""

    def guest_says(self, transcript: Sequence[Message]) -> str | None:
        """The guest's next message, or None when the guest leaves (satisfied or out of patience)."""
        ...

    def demonstrate(self, transcript: Sequence[Message]) -> Message:
        """What a skilled colleague would have done next at this point: an assistant message (a reply or tool calls)."""
        ...

    def outcome(self) -> Outcome: ...

    def close(self) -> None: ...


class Environment(Protocol):
    """A source of goals and of the worlds in which guests pursue them."""

    name: str

    def goals(self, split: Literal["train", "evaluation"], num_goals: int, seed: int) -> list[Goal]:
        """Goals of a split; the phrasings and entities of the two splits do not overlap where the environment says so."""
        ...

    def start(self, goal: Goal) -> Episode: ...
