"""What a reader gives out: a document of a corpus, or a part of a file that cannot be read."""

from collections.abc import Iterable, Iterator
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


def batches(documents: Iterable[Document], max_documents: int = 256, max_characters: int = 4 << 20) -> Iterator[list[Document]]:
    """Documents to be worked on together: so many at most, and none more once they have so many characters."""
    batch: list[Document] = []
    length = 0
    for document in documents:
        batch.append(document)
        length += len(document.text)
        if len(batch) == max_documents or length >= max_characters:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def whole_characters(text: str) -> str:
    """A text whose surrogates are pairs made whole, or replaced: libraries refuse any other. Names of files that are not UTF-8 have some, too."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
