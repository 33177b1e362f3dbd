"""Span denoising (Raffel et al. 2020): what an encoder-decoder is pre-trained with.

L = -1/|y| sum_t log p(y_t | y_<t, x~): in x~ spans of the text are each replaced by a sentinel; y names every sentinel, followed by its span.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from noria.data import ShardSplit
from noria.train.objective import Loss
from noria.train.passages import Passages, check_held_out
from noria.train.run import MicroBatch, Step

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class DenoiseIds:
    """Ids of an encoder-decoder's special tokens; `sentinels` in the order in which they are used."""

    end: int
    pad: int
    sentinels: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class DenoiseRows:
    """Rows beside one another, filled up to the longest: (rows, time)."""

    read: NDArray[np.int64]
    targets: NDArray[np.int64]
    """-100 where a shorter row is filled up."""


class Denoise:
    """The objective.

    Args:
        noise: share of the tokens that are taken out. span: tokens of a span, on average.
        context: tokens of a passage. rows: passages of a step. micro_rows: passages that go through the model at once.
    """

    def __init__(self, ids: DenoiseIds, noise: float, span: float, context: int, rows: int, micro_rows: int, seed: int) -> None:
        self.ids, self.noise, self.span = ids, noise, span
        self.context, self.rows, self.micro_rows, self.seed = context, rows, micro_rows, seed

    def steps(self, split: ShardSplit) -> "DenoiseSteps":
        return DenoiseSteps(self, split)

    def score(self, model: Any, split: ShardSplit, max_tokens: int) -> dict[str, float]:
        """Mean loss on a split, with spans that are always the same."""
        total, count = 0.0, 0
        for rows in DenoiseSteps(self, split).once(max_tokens):
            total += self.loss(model, rows).total.item()
            count += int((rows.targets != IGNORED).sum())
        return {"loss": total / count}

    def check(self, held_out: ShardSplit) -> None:
        check_held_out(held_out)

    def loss(self, model: Any, rows: DenoiseRows) -> Loss:
        read, targets = (torch.from_numpy(part).to(model.device) for part in (rows.read, rows.targets))
        output = model(
            input_ids=read,
            attention_mask=(read != self.ids.pad).long(),
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(targets),
            use_cache=False,
        )
        return Loss(total=functional.cross_entropy(output.logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="sum"))


class DenoiseSteps:
    """Steps over a split; what is taken out in a step depends on its number and the seed."""

    def __init__(self, objective: Denoise, split: ShardSplit) -> None:
        self.objective = objective
        self.passages = Passages(split, objective.context - 1, objective.seed)

    def step(self, number: int) -> Step:
        o = self.objective
        rng = np.random.default_rng([o.seed, number, 1])
        first = number * o.rows
        indices = [range(at, min(at + o.micro_rows, first + o.rows)) for at in range(first, first + o.rows, o.micro_rows)]
        micros = [self._rows([self.passages.at(i) for i in part], rng) for part in indices]
        weight = sum(int((rows.targets != IGNORED).sum()) for rows in micros)
        tokens = weight + sum(int((rows.read != o.ids.pad).sum()) for rows in micros)
        return Step(micro_batches=[MicroBatch(o.loss, rows) for rows in micros], weight=float(weight), num_tokens=tokens)

    def once(self, max_tokens: int) -> Iterator[DenoiseRows]:
        """The passages that a validation scores: all, or a sample that is always the same."""
        rng = np.random.default_rng([self.objective.seed, 2])
        chosen = self.passages.sample(max_tokens, rng)
        for start in range(0, len(chosen), self.objective.micro_rows):
            yield self._rows(chosen[start : start + self.objective.micro_rows], rng)

    def _rows(self, numbers: Sequence[int], rng: np.random.Generator) -> DenoiseRows:
        o = self.objective
        pairs = [take_out_spans(self.passages.tokens(number), o.noise, o.span, o.ids, rng) for number in numbers]
        return DenoiseRows(read=_filled([p[0] for p in pairs], o.ids.pad), targets=_filled([p[1] for p in pairs], IGNORED))


def take_out_spans(
    tokens: NDArray[np.int64], noise: float, span: float, ids: DenoiseIds, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The text with sentinels in the place of spans, and what stood there. Kept and taken parts alternate, beginning with a kept one."""
    num_taken = min(max(1, round(noise * len(tokens))), len(tokens) - 1)
    num_spans = min(max(1, round(num_taken / span)), num_taken, len(tokens) - num_taken, len(ids.sentinels))
    kept, taken = _partition(len(tokens) - num_taken, num_spans, rng), _partition(num_taken, num_spans, rng)
    read: list[NDArray[np.int64]] = []
    targets: list[NDArray[np.int64]] = []
    at = 0
    for sentinel, before, length in zip(ids.sentinels, kept, taken, strict=False):
        read += [tokens[at : at + before], np.array([sentinel])]
        targets += [np.array([sentinel]), tokens[at + before : at + before + length]]
        at += before + length
    end = np.array([ids.end])
    return np.concatenate([*read, end]), np.concatenate([*targets, end])


def _partition(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """`total` as the sum of `parts` positive numbers, each such sum as likely as any other."""
    borders = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff([0, *borders, total]).tolist()


def _filled(rows: Sequence[NDArray[np.int64]], value: int) -> NDArray[np.int64]:
    out = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out
