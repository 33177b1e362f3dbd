"""Passages: pieces of one document each, for objectives that must not read across documents.

A document longer than `length` is cut into equal parts, as few as fit; shorter ones are passages by themselves. Every epoch goes through all of
them in another order.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.data import ShardSplit
from noria.errors import DataError

MIN_TOKENS = 8
"""Documents shorter than that teach nothing about what stands where, and are left out."""


def check_held_out(split: ShardSplit) -> None:
    """Refuse a held-out split without a passage. Raises DataError."""
    try:
        Passages(split, MIN_TOKENS, 0)
    except DataError as error:
        raise DataError(
            f"The held-out part of the corpus has no document of {MIN_TOKENS} tokens. Give more text, or a larger `validation_share`."
        ) from error


class Passages:
    """The passages of a split, in an order without end.

    Args:
        length: tokens of a passage, at most.

    Raises:
        DataError: no document is long enough.
    """

    def __init__(self, split: ShardSplit, length: int, seed: int) -> None:
        self.split, self.seed = split, seed
        begins = split.documents.astype(np.int64)
        lengths = np.diff(np.append(begins, len(split.tokens)))
        documents = np.flatnonzero(lengths >= MIN_TOKENS)
        if not len(documents):
            raise DataError(f"No document of the corpus has {MIN_TOKENS} tokens. Give longer texts.")
        begins, lengths = begins[documents], lengths[documents]
        parts = -(-lengths // length)
        within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
        owner = np.repeat(np.arange(len(documents)), parts)
        self.document: NDArray[np.int64] = owner
        """Which document a passage is of."""
        self.begin: NDArray[np.int64] = begins[owner] + within * lengths[owner] // parts[owner]
        self.end: NDArray[np.int64] = begins[owner] + (within + 1) * lengths[owner] // parts[owner]
        self.num_documents = len(documents)
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self.begin)

    def at(self, index: int) -> int:
        """The number of the passage that comes at `index`."""
        epoch, place = divmod(index, len(self))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self)))
        return int(self._epoch[1][place])

    def sample(self, max_tokens: int, rng: np.random.Generator) -> list[int]:
        """Numbers of all passages, or of as many drawn without repeating as have so many tokens together (one at least), in their order."""
        order = rng.permutation(len(self))
        count = int(np.searchsorted(np.cumsum((self.end - self.begin)[order]), max_tokens, side="right"))
        return sorted(order[: max(1, count)].tolist())

    def tokens(self, number: int) -> NDArray[Any]:
        return np.asarray(self.split.tokens[self.begin[number] : self.end[number]], dtype=np.int64)

    def word_starts(self, number: int) -> NDArray[np.bool_]:
        """Whether a word begins at each token; every token is a word where the shards do not say."""
        here = slice(self.begin[number], self.end[number])
        count = int(here.stop - here.start)
        return np.ones(count, dtype=bool) if self.split.words is None else self.split.words[here].astype(bool)
