"""Examples and how they are ordered and packed into batches without padding.

Several sequences stand behind one another in one row; attention (`noria.train.attention`) keeps them apart, so every computed token is a
useful one.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Example:
    """One thing to learn from.

    `sequences` has one entry for plain text, two for a pair (chosen, rejected; or completion, mismatched completion).
    `weights` holds, for each sequence, one weight a token: how much predicting that token counts (0: context only).
    """

    objective: str
    sequences: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    label: bool | None = None
    reference: tuple[float, ...] = ()
    """Log-probability of each sequence's weighted tokens under the reference model, where the objective needs it."""
    prefix: int = 0
    """Leading tokens that other sequences may begin with too; where they do, they are computed once (`noria.train.attention`)."""

    @property
    def num_tokens(self) -> int:
        return sum(len(s) for s in self.sequences)

    @property
    def weight(self) -> float:
        """What this example adds to the denominator of the step's mean loss."""
        return sum(sum(w) for w in self.weights) if self.objective == "supervised" else 1.0

    def with_reference(self, reference: tuple[float, ...]) -> Self:
        return replace(self, reference=reference)


def pack(examples: Sequence[Example], order: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut `order` into runs of at most `max_tokens` tokens that hold one objective each; a longer example stands alone."""
    batches: list[list[int]] = []
    filled: dict[str, tuple[list[int], int]] = {}
    for index in order:
        example = examples[index]
        batch, tokens = filled.get(example.objective, ([], 0))
        if batch and tokens + example.num_tokens > max_tokens:
            batches.append(batch)
            batch, tokens = [], 0
        filled[example.objective] = ([*batch, index], tokens + example.num_tokens)
    batches += [batch for batch, _ in filled.values() if batch]
    return batches


def schedule(examples: Sequence[Example], batch_tokens: int, seed: int) -> Iterator[list[int]]:
    """Batches without end: every epoch is a new order, made from the seed and the epoch alone, so that a resumed run sees the same.

    Examples that begin alike come together, a batch at a time, so that their beginning is computed once.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(examples):
        alike.setdefault(example.sequences[0][: example.prefix], []).append(index)
    epoch = 0
    while True:
        rng = random.Random(f"{seed}/{epoch}")
        runs: list[list[int]] = []
        for members in alike.values():
            runs += pack(examples, rng.sample(members, len(members)), batch_tokens)
        rng.shuffle(runs)
        batches = pack(examples, [index for run in runs for index in run], batch_tokens)
        rng.shuffle(batches)
        yield from batches
        epoch += 1
