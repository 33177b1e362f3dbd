"""Corpora: text of many files as a stream of documents, in an order that is always the same, without reading any file whole where it is JSONL.

In: files and folders (plain text, Markdown, JSONL with `text`, each compressed with gzip or not). Out: `Document`s. A file that cannot be read is
left out with its reason; the run goes on.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO

from noria.errors import DataError

TEXT_SUFFIXES = (".txt", ".md")
ROW_SUFFIXES = (".jsonl",)
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "dev": "validation"}


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text of a corpus."""

    text: str
    id: str
    source: str
    """Path of the file it came from."""


@dataclass(kw_only=True)
class Corpus:
    """Files to read; `left_out` says which could not be, as (path, reason), once they were met."""

    files: Sequence[Path]
    left_out: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files)

    def __iter__(self) -> Iterator[Document]:
        self.left_out.clear()
        for path in self.files:
            try:
                yield from _rows(path) if _suffix(path) in ROW_SUFFIXES else _whole(path)
            except (OSError, ValueError, EOFError) as error:
                self.left_out.append((str(path), str(error)))


def open_corpus(paths: Sequence[Path]) -> Corpus:
    """The files at and below these paths that hold text. Raises DataError where there is none."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"No file or folder '{path}'. Check the path given with `--corpus`.")
        found = sorted(p for p in path.rglob("*") if p.is_file() and _is_text(p)) if path.is_dir() else [path]
        files += [p for p in found if p not in files]
    wrong = next((p for p in files if not _is_text(p)), None)
    if wrong is not None:
        raise DataError(f"'{wrong}' is of no kind that is read: {', '.join((*TEXT_SUFFIXES, *ROW_SUFFIXES))}, each also as .gz.")
    if not files:
        raise DataError(f"No text in {', '.join(repr(str(p)) for p in paths)}: files of {', '.join((*TEXT_SUFFIXES, *ROW_SUFFIXES))} are read.")
    return Corpus(files=files)


def split_of(document: Document, validation_share: float, seed: int = 0) -> str:
    """`train` or `validation`: as the file's name says, else by the document's own text, so that equal documents never stand on both sides."""
    named = SPLIT_NAMES.get(Path(document.source).name.split(".")[0])
    if named is not None:
        return named
    digest = sha256(f"{seed}/{document.text}".encode()).digest()
    return "validation" if int.from_bytes(digest[:8], "big") < validation_share * 2**64 else "train"


def _is_text(path: Path) -> bool:
    return _suffix(path) in (*TEXT_SUFFIXES, *ROW_SUFFIXES) and not path.name.startswith(".")


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _whole(path: Path) -> Iterator[Document]:
    with _open(path) as file:
        text = file.read()
    if text.strip():
        yield Document(text=text, id=str(path), source=str(path))


def _rows(path: Path) -> Iterator[Document]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise DataError(f"{path}:{number}: `text` is {text!r}; each row needs a text.")
            if text.strip():
                yield Document(text=text, id=str(row.get("id", f"{path}:{number}")), source=str(path))
