"""Steps over inputs in memory: a number of rows each, of like length, so that little is padding."""

import random
from collections.abc import Sequence

from noria.engine.heads import Input
from noria.engine.heads.reader import in_parts
from noria.train.heads.head import Head
from noria.train.run import MicroBatch, Step

POOL = 16
"""Batches whose rows are sorted by length together: what differs in length seldom meets, and still meets others each epoch."""


class InputSteps:
    """Steps of `batch` inputs.

    Args:
        max_tokens: of the inputs that go through the model at once, padding included.
    """

    def __init__(self, head: Head, inputs: Sequence[Input], batch: int, max_tokens: int, seed: int) -> None:
        self._head, self._inputs, self._batch, self._max_tokens, self._seed = head, inputs, batch, max_tokens, seed
        self._epoch: tuple[int, list[list[int]]] | None = None
        self.per_epoch = len(self._order(0))

    def step(self, number: int) -> Step:
        epoch, at = divmod(number, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        chosen = [self._inputs[index] for index in self._epoch[1][at]]
        micros = [MicroBatch(self._head.loss, part) for part in in_parts(chosen, self._max_tokens)]
        return Step(micro_batches=micros, weight=self._head.weight(chosen), num_tokens=sum(len(one.token_ids) for one in chosen))

    def _order(self, epoch: int) -> list[list[int]]:
        rng = random.Random(f"{self._seed}/{epoch}")
        order = rng.sample(range(len(self._inputs)), len(self._inputs))
        batches: list[list[int]] = []
        for start in range(0, len(order), POOL * self._batch):
            pool = sorted(order[start : start + POOL * self._batch], key=lambda index: len(self._inputs[index].token_ids))
            batches += [pool[at : at + self._batch] for at in range(0, len(pool), self._batch)]
        rng.shuffle(batches)
        return batches
