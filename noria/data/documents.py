"""What a reader gives out: a document of a corpus, or a part of a file that cannot be read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text of a corpus."""

    text: str
    id: str
    source: str
    """Path of the file it came from."""
    origin: str | None = None
    """What its own row names as its source."""
    url: str | None = None
    license: str | None = None
    language: str | None = None


@dataclass(frozen=True, kw_only=True)
class Unread:
    """A file, or a part of one, that cannot be read."""

    source: str
    reason: str
    place: str = ""
    """Which row or record; empty for the file, or the rest of it."""
    text: str = ""
    """What stands there, as far as it is text."""


Item = Document | Unread
