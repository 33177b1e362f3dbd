"""Blocks: a corpus of token ids as steps of equal work.

The documents of a split stand behind one another; an epoch cuts them into blocks of `context` tokens, from another offset each time, in another
order. What begins in one block ends in the next, so nothing is left out, and no token is padding. Attention does not reach into the document before.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.data import ShardSplit
from noria.errors import DataError
from noria.train.objective import Loss
from noria.train.run import MicroBatch, Step


@dataclass(frozen=True, kw_only=True)
class Block:
    """Tokens (blocks, context + 1): each is read but the last of a row, and each is predicted but the first."""

    tokens: NDArray[np.int64]


class BlockSteps:
    """Steps over a split.

    Args:
        batch: blocks of a step. micro: blocks that go through the model at once.
        loss: of (model, blocks), summed over what is predicted; `weight` is how many predictions a step makes.
    """

    def __init__(self, split: ShardSplit, context: int, batch: int, micro: int, loss: Callable[[Any, Block], Loss], seed: int) -> None:
        if len(split.tokens) <= context:
            raise DataError(f"The corpus has {len(split.tokens)} tokens, fewer than one block of {context}. Give more text, or lower `context`.")
        self._tokens = split.tokens
        self._context, self._batch, self._micro = context, batch, micro
        self._loss, self._seed = loss, seed
        self._epoch: tuple[int, NDArray[np.int64]] | None = None
        # Cut from any offset below `context`, an epoch has at least so many blocks.
        self.num_blocks = max(1, (len(split.tokens) - context) // context)

    @property
    def tokens_per_step(self) -> int:
        return self._batch * self._context

    @property
    def tokens_per_epoch(self) -> int:
        return self.num_blocks * self._context

    def step(self, number: int) -> Step:
        first = number * self._batch
        starts = [self._start(index) for index in range(first, first + self._batch)]
        groups = [starts[i : i + self._micro] for i in range(0, len(starts), self._micro)]
        micros = [MicroBatch(self._loss, Block(tokens=cut(self._tokens, group, self._context + 1))) for group in groups]
        return Step(micro_batches=micros, weight=float(self.tokens_per_step), num_tokens=self.tokens_per_step)

    def _start(self, index: int) -> int:
        epoch, at = divmod(index, self.num_blocks)
        if self._epoch is None or self._epoch[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            slack = len(self._tokens) - 1 - self.num_blocks * self._context
            offset = int(rng.integers(0, slack + 1)) if slack > 0 else 0
            self._epoch = (epoch, offset + rng.permutation(self.num_blocks) * self._context)
        return int(self._epoch[1][at])


def cut(tokens: NDArray[Any], starts: Sequence[int], length: int) -> NDArray[np.int64]:
    """Tokens from each start: (starts, length)."""
    return np.stack([np.asarray(tokens[start : start + length], dtype=np.int64) for start in starts])


def in_order(split: ShardSplit, context: int, max_tokens: int, rows: int = 1, seed: int = 0) -> Iterator[Block]:
    """The blocks that a validation scores, some `rows` at a time: all, or, of a larger split, a sample that is always the same."""
    count = max(1, (len(split.tokens) - 1) // context)
    chosen = list(range(count))
    if count * context > max_tokens:
        chosen = sorted(random.Random(seed).sample(chosen, max(1, max_tokens // context)))
    for at in range(0, len(chosen), rows):
        yield Block(tokens=cut(split.tokens, [index * context for index in chosen[at : at + rows]], min(context + 1, len(split.tokens))))
