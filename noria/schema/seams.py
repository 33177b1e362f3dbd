"""Small seams: time, identifiers, embedding and retrieval."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from noria.schema.messages import Record


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def new_id(prefix: str) -> str:
    """A new identifier such as `conv_5f0c...`; 96 random bits."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Passage(Record):
    """A retrieved piece of a document, with where it stands so that it can be cited."""

    id: str
    document: str
    title: str
    text: str
    score: float


class Retriever(Protocol):
    """Finds passages for a query."""

    def search(self, query: str, num_results: int = 3) -> list[Passage]:
        """Best passages first; empty when nothing matches."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors of one length."""

    @property
    def num_dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> list[list[float]]: ...
