"""Supervised contrastive learning: texts of one label are drawn together, others apart; the last layer is fitted afterwards.

L = -mean_i mean_{p in P(i)} log( exp(z_i z_p / t) / sum_{a != i} exp(z_i z_a / t) ) over a batch, with P(i) the other texts of i's label and z
the features, of length one (Khosla et al. 2020; with a fitted layer for few examples, Tunstall et al. 2022). A batch has as many texts of each of
its labels.
"""

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from noria.engine.heads import Input
from noria.train.heads.classify import Classify
from noria.train.heads.head import PART_TOKENS, of_like_length
from noria.train.heads.probe import read_features
from noria.train.objective import Loss
from noria.train.run import MicroBatch, Step

TEMPERATURE = 0.07
PER_LABEL = 2
"""Texts of a label in a batch, at least."""
MOST_TOKENS = 8192
"""Tokens of a batch, whose activations are all kept; of longer texts there are fewer."""


class ContrastSteps:
    """Steps over batches of `batch` inputs; the same number gives the same step."""

    def __init__(self, head: Classify, inputs: Sequence[Input], batch: int, seed: int) -> None:
        self._head, self._seed = head, seed
        self._by_label: dict[Any, list[Input]] = {}
        for one in inputs:
            self._by_label.setdefault(one.target, []).append(one)
        self._num_labels = min(len(self._by_label), max(2, batch // PER_LABEL))
        self._per_label = max(PER_LABEL, batch // self._num_labels)

    @property
    def per_epoch(self) -> int:
        return max(1, sum(map(len, self._by_label.values())) // (self._num_labels * self._per_label))

    def step(self, number: int) -> Step:
        rng = random.Random(f"{self._seed}/{number}")
        labels = rng.sample(sorted(self._by_label), self._num_labels)
        chosen = _that_fit([_drawn(rng, self._by_label[label], self._per_label) for label in labels])
        # In-batch negatives: all texts of a step go through the model together.
        return Step(micro_batches=[MicroBatch(self._loss, chosen)], weight=1.0, num_tokens=sum(len(one.token_ids) for one in chosen))

    def _loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        features = of_like_length(inputs, partial(read_features, self._head, model), PART_TOKENS)
        labels = torch.tensor([one.target for one in inputs], device=features.device)
        with torch.autocast(features.device.type, enabled=False):  # similarities are divided by a small temperature: they must be exact
            return Loss(total=contrastive_loss(features, labels))


def _drawn(rng: random.Random, inputs: Sequence[Input], count: int) -> list[Input]:
    """Different ones: all of them where there are fewer. One that is alone stands twice."""
    return rng.sample(inputs, min(count, len(inputs))) if len(inputs) >= PER_LABEL else [*inputs] * PER_LABEL


def _that_fit(drawn: Sequence[Sequence[Input]]) -> list[Input]:
    """Two texts of each label, two more of each, and so on, as far as `MOST_TOKENS` go; two labels at least."""
    pairs = [texts[at : at + PER_LABEL] for at in range(0, max(map(len, drawn)), PER_LABEL) for texts in drawn]
    chosen: list[Input] = []
    for number, pair in enumerate(pairs):
        chosen += pair
        if number and sum(len(one.token_ids) for one in chosen) > MOST_TOKENS:
            break
    return chosen


def contrastive_loss(features: torch.Tensor, labels: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """The loss of a batch: features (texts, width), labels (texts,); a text without another of its label counts nothing."""
    z = functional.normalize(features, dim=-1)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logprobs = (z @ z.T / temperature).masked_fill(own, float("-inf")).log_softmax(-1)
    alike = (labels[:, None] == labels[None]) & ~own
    counts = alike.sum(1)
    sums = logprobs.masked_fill(~alike, 0.0).sum(1)
    return -(sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)
