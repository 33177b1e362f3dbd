"""Token shards: a corpus as token ids on disk, read by memory map, so that its size is no matter of memory.

A folder holds, for each split, `<split>.tokens` (little-endian uint16, or uint32 for vocabularies beyond it), `<split>.documents` (where each
document begins, uint64) and, where asked for, `<split>.words` (one byte a token: 1 where a word begins); `shards.json`, written last, says what
they are. A folder without it is unfinished and is made anew.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import ArtifactError
from noria.store import write_file

ABOUT = "shards.json"
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A document as token ids, its end token included."""

    token_ids: Sequence[int]
    num_bytes: int
    """Bytes of its text in UTF-8, by which losses of different tokenizers are compared."""
    word_starts: Sequence[bool] | None = None
    """Whether a word begins at each token."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of the shards, mapped into memory."""

    tokens: NDArray[Any]
    documents: NDArray[np.uint64]
    """Where each document begins."""
    words: NDArray[np.uint8] | None
    num_bytes: int

    @property
    def bytes_per_token(self) -> float:
        return self.num_bytes / max(len(self.tokens), 1)


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The splits of one folder."""

    folder: Path
    vocab_size: int
    splits: dict[str, Split]

    def with_held_out(self, share: float) -> "Shards":
        """These shards; where no document was held out, the end of the training split is."""
        if VALIDATION in self.splits:
            return self
        whole = self.splits[TRAIN]
        border = len(whole.tokens) - max(1, round(share * len(whole.tokens)))
        cut = int(np.searchsorted(whole.documents, border))
        parts = {
            TRAIN: (slice(None, border), whole.documents[:cut]),
            VALIDATION: (slice(border, None), np.unique(np.append(np.uint64(0), whole.documents[cut:] - np.uint64(border)))),
        }
        splits = {
            name: Split(
                tokens=whole.tokens[here],
                documents=documents,
                words=None if whole.words is None else whole.words[here],
                num_bytes=round(whole.num_bytes * len(whole.tokens[here]) / len(whole.tokens)),
            )
            for name, (here, documents) in parts.items()
        }
        return Shards(folder=self.folder, vocab_size=self.vocab_size, splits={**self.splits, **splits})

    @property
    def train(self) -> Split:
        return self.splits[TRAIN]

    @property
    def validation(self) -> Split:
        return self.splits[VALIDATION]


def write_shards(folder: Path, documents: Iterable[tuple[str, Encoded]], vocab_size: int, on_document: Callable[[int], None] | None = None) -> Shards:
    """Write documents, each with the name of its split, as they come; returns the shards.

    Args:
        on_document: told the number of documents so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    about: dict[str, dict[str, int]] = {}
    with ExitStack() as stack:
        files: dict[str, dict[str, Any]] = {}
        for number, (split, document) in enumerate(documents, 1):
            if split not in files:
                kinds = ["tokens", "documents", *(["words"] if document.word_starts is not None else [])]
                files[split] = {kind: stack.enter_context((folder / f"{split}.{kind}").open("wb")) for kind in kinds}
                about[split] = {"num_tokens": 0, "num_documents": 0, "num_bytes": 0}
            counts = about[split]
            files[split]["documents"].write(np.array([counts["num_tokens"]], dtype="<u8").tobytes())
            files[split]["tokens"].write(np.asarray(document.token_ids, dtype=dtype).tobytes())
            if document.word_starts is not None:
                files[split]["words"].write(np.asarray(document.word_starts, dtype=np.uint8).tobytes())
            counts["num_tokens"] += len(document.token_ids)
            counts["num_documents"] += 1
            counts["num_bytes"] += document.num_bytes
            if on_document:
                on_document(number)
    write_file(folder / ABOUT, [json.dumps({"vocab_size": vocab_size, "dtype": dtype.str, "splits": about}, indent=2) + "\n"])
    return open_shards(folder)


def open_shards(folder: Path) -> Shards:
    """Map finished shards. Raises ArtifactError where they are unfinished or cut short."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        splits = {name: _open_split(folder, name, counts, np.dtype(about["dtype"])) for name, counts in about["splits"].items()}
        return Shards(folder=folder, vocab_size=about["vocab_size"], splits=splits)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"The token shards in '{folder}' are unfinished or corrupt ({error}). Delete the folder and run the command again."
        ) from error


def is_finished(folder: Path) -> bool:
    """Whether the shards in a folder were written to their end."""
    return (folder / ABOUT).is_file()


def _open_split(folder: Path, name: str, counts: dict[str, int], dtype: np.dtype[Any]) -> Split:
    words = folder / f"{name}.words"
    return Split(
        tokens=_mapped(folder / f"{name}.tokens", dtype, counts["num_tokens"]),
        documents=_mapped(folder / f"{name}.documents", np.dtype("<u8"), counts["num_documents"]),
        words=_mapped(words, np.dtype(np.uint8), counts["num_tokens"]) if words.is_file() else None,
        num_bytes=counts["num_bytes"],
    )


def _mapped(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    found = np.memmap(path, dtype=dtype, mode="r") if length else np.zeros(0, dtype)
    if len(found) != length:
        raise ValueError(f"'{path.name}' has {len(found)} entries instead of {length}")
    return found
