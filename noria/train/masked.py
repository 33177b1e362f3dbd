"""Masked language modelling and next-sentence prediction (Devlin et al. 2019): what an encoder is pre-trained with.

L = -1/|M| sum_{i in M} log p(x_i | x~)  -  lambda 1/R sum_r log p(y_r | x~_r)

x~ is the text in which the tokens M (whole words) were replaced: 80 % by the mask, 10 % by another token, 10 % by themselves. y_r says whether the
second part of row r follows its first, or was taken from another document. Without lambda a row is one passage (Liu et al. 2019).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from noria.data import ShardSplit
from noria.errors import DataError
from noria.train.attention import Rows, Segment, mask_of
from noria.train.objective import Loss
from noria.train.passages import Passages, check_held_out
from noria.train.run import MicroBatch, Step

FOLLOWS, RANDOM = 0, 1
"""Labels of a row, as in transformers' `next_sentence_label`."""
MASKED, OTHER = 0.8, 0.1
"""Shares of the chosen tokens that become the mask, and another token."""
FULL_ENOUGH = 0.8
"""Share of the places that tokens take from which on it is faster to fill rows up and attend to all at once than to one after the other."""
MAX_DRAWS = 8
"""Passages that are looked at for a second part that is long enough."""


@dataclass(frozen=True, kw_only=True)
class EncoderIds:
    """Ids of an encoder's special tokens; those from `first_plain` on are text."""

    begin: int
    end: int
    mask: int
    first_plain: int
    vocab_size: int
    sentence_ends: frozenset[int] = frozenset()
    """Tokens after which a sentence may end: where a row is parted, if there is one near."""


@dataclass(kw_only=True)
class MaskedRows:
    """Rows behind one another, without padding."""

    token_ids: list[int] = field(default_factory=list[int])
    kinds: list[int] = field(default_factory=list[int])
    """0 in a row's first part, 1 in its second."""
    positions: list[int] = field(default_factory=list[int])
    segments: list[Segment] = field(default_factory=list[Segment])
    chosen: list[int] = field(default_factory=list[int])
    """Where a token is predicted."""
    targets: list[int] = field(default_factory=list[int])
    labels: list[int] = field(default_factory=list[int])
    """Whether each row's second part follows; empty without next-sentence prediction."""
    label_weight: float = 0.0
    """What a row's sentence loss counts, beside a token's."""

    def add(self, token_ids: Sequence[int], kinds: Sequence[int], chosen: Sequence[int], targets: Sequence[int]) -> None:
        start = len(self.token_ids)
        self.token_ids += token_ids
        self.kinds += kinds
        self.positions += range(len(token_ids))
        self.segments.append(Segment(start, len(self.token_ids)))
        self.chosen += [start + at for at in chosen]
        self.targets += targets


class Masked:
    """The objective.

    Args:
        mask_rate: share of the tokens that are predicted. sentence_weight: lambda; 0: no second parts.
        context: longest row. rows: rows of a step. micro_rows: rows that go through the model at once.
    """

    def __init__(self, ids: EncoderIds, mask_rate: float, sentence_weight: float, context: int, rows: int, micro_rows: int, seed: int) -> None:
        self.ids, self.mask_rate, self.sentence_weight = ids, mask_rate, sentence_weight
        self.context, self.rows, self.micro_rows, self.seed = context, rows, micro_rows, seed

    def steps(self, split: ShardSplit) -> "MaskedSteps":
        return MaskedSteps(self, split)

    def score(self, model: Any, split: ShardSplit, max_tokens: int) -> dict[str, float]:
        """Mean loss of a model that does not train on a split with masks that are always the same, and how often the likeliest are right."""
        steps = MaskedSteps(self, split, at_least=1)
        totals: dict[str, float] = {}
        for rows in steps.once(max_tokens):
            counts = {"tokens": float(len(rows.targets)), "rows": float(len(rows.labels))}
            for name, value in {**self.loss(model, rows).metrics, **counts}.items():
                totals[name] = totals.get(name, 0.0) + value
        mlm = totals["mlm"] / totals["tokens"]
        found = {"loss": mlm, "mlm_loss": mlm, "mlm_accuracy": totals["mlm_right"] / totals["tokens"]}
        if totals["rows"]:
            sentence = totals["sentence"] / totals["rows"]
            found |= {"loss": mlm + self.sentence_weight * sentence, "sentence_loss": sentence}
            found["sentence_accuracy"] = totals["sentence_right"] / totals["rows"]
        return found

    def check(self, held_out: ShardSplit) -> None:
        check_held_out(held_out)

    def loss(self, model: Any, rows: MaskedRows) -> Loss:
        device = model.device
        as_tensor: Callable[[Sequence[int]], torch.Tensor] = lambda values: torch.tensor(values, device=device)  # noqa: E731
        read = {"input_ids": as_tensor(rows.token_ids), "position_ids": as_tensor(rows.positions)}
        if model.config.model_type == "bert":
            read["token_type_ids"] = as_tensor(rows.kinds)
        attended: Sequence[Segment] | Rows = rows.segments
        begins, chosen = as_tensor([segment.start for segment in rows.segments]), as_tensor(rows.chosen)
        if len(rows.token_ids) >= FULL_ENOUGH * len(rows.segments) * self.context:
            place, attended = _padded(as_tensor([segment.end - segment.start for segment in rows.segments]), self.context)
            size = self.context * len(rows.segments)
            read = {name: values.new_zeros(size).index_copy_(0, place, values) for name, values in read.items()}
            begins, chosen = place[begins], place[chosen]
        hidden = model.base_model(**{name: values[None] for name, values in read.items()}, segments=attended).last_hidden_state[0]
        logits = _token_logits(model, hidden[chosen]).float()
        targets = as_tensor(rows.targets)
        mlm = functional.cross_entropy(logits, targets, reduction="sum")
        metrics = {} if model.training else {"mlm": mlm.item(), "mlm_right": _num_right(logits, targets)}
        if not rows.labels:
            return Loss(total=mlm, metrics=metrics)
        choices = model.cls.seq_relationship(model.bert.pooler(hidden[begins][:, None])).float()
        labels = as_tensor(rows.labels)
        sentence = functional.cross_entropy(choices, labels, reduction="sum")
        metrics |= {} if model.training else {"sentence": sentence.item(), "sentence_right": _num_right(choices, labels)}
        return Loss(total=mlm + rows.label_weight * sentence, metrics=metrics)


class MaskedSteps:
    """Steps over a split; what is masked in a step depends on its number and the seed.

    Args:
        at_least: documents that next-sentence prediction needs; where there is one alone and that is enough, only masks are predicted.
    """

    def __init__(self, objective: Masked, split: ShardSplit, at_least: int = 2) -> None:
        self.objective = objective
        self.pairs = objective.sentence_weight > 0
        self.passages = Passages(split, objective.context - (3 if self.pairs else 2), objective.seed)
        if self.pairs and self.passages.num_documents < at_least:
            raise DataError("Next-sentence prediction takes its random sentences from other documents, and there is one. Set `sentence_weight=0`.")
        self.pairs = self.pairs and self.passages.num_documents > 1

    def step(self, number: int) -> Step:
        o = self.objective
        rng = np.random.default_rng([o.seed, number, 1])
        first = number * o.rows
        micros = [self._rows([self.passages.at(i) for i in part], rng) for part in _parts(range(first, first + o.rows), o.micro_rows)]
        weight = sum(len(rows.targets) for rows in micros)
        for rows in micros:
            rows.label_weight = o.sentence_weight * weight / o.rows
        tokens = sum(len(rows.token_ids) for rows in micros)
        return Step(micro_batches=[MicroBatch(o.loss, rows) for rows in micros], weight=float(weight), num_tokens=tokens)

    def once(self, max_tokens: int) -> Iterator[MaskedRows]:
        """The passages that a validation scores: all, or a sample that is always the same."""
        rng = np.random.default_rng([self.objective.seed, 2])
        for part in _parts(self.passages.sample(max_tokens, rng), self.objective.micro_rows):
            yield self._rows(part, rng)

    def _rows(self, numbers: Sequence[int], rng: np.random.Generator) -> MaskedRows:
        rows, ids = MaskedRows(), self.objective.ids
        for number in numbers:
            tokens, words = self.passages.tokens(number), self.passages.word_starts(number)
            parted = len(tokens)
            if self.pairs:
                parted = part_near(tokens, rng, ids.sentence_ends)
                left = len(tokens) - parted
                other, its_words = self._from_another(number, left - int(rng.integers(1, left // 8 + 2)), rng)
                label = int(rng.integers(2))
                rows.labels.append(label)
                if label == RANDOM:
                    tokens, words = np.concatenate((tokens[:parted], other)), np.concatenate((words[:parted], its_words))
                # Both end as early, and before their passages do: neither the length of a row nor how it ends tells its label.
                tokens, words = tokens[: parted + len(other)], words[: parted + len(other)]
            words[0] = True
            if parted < len(tokens):
                words[parted] = True
            read, chosen = mask(tokens, words, self.objective.mask_rate, ids, rng)
            first, second = read[:parted].tolist(), read[parted:].tolist()
            row = [ids.begin, *first, ids.end, *([*second, ids.end] if self.pairs else [])]
            kinds = [0] * (len(first) + 2) + [1] * (len(row) - len(first) - 2)
            at = chosen + 1 + (chosen >= parted)
            rows.add(row, kinds, at.tolist(), tokens[chosen].tolist())
        return rows

    def _from_another(self, number: int, length: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """`length` tokens from within a passage of another document, or as many as were found in a few draws; at least one."""
        passages = self.passages
        begin, end = np.searchsorted(passages.document, passages.document[number] + np.array([0, 1])).tolist()  # the passages of this document
        found, start, most = 0, 0, -1
        for _ in range(MAX_DRAWS):
            drawn = int(rng.integers(len(passages) - (end - begin)))
            other = drawn if drawn < begin else drawn + end - begin
            tokens = passages.tokens(other)
            cut = part_near(tokens, rng, self.objective.ids.sentence_ends)  # as a true second part begins, so that the cut tells nothing
            if len(tokens) - cut - 1 > most:
                found, start, most = other, cut, len(tokens) - cut - 1
            if most >= length:
                break
        part = slice(start, start + max(1, min(length, most)))
        return passages.tokens(found)[part], passages.word_starts(found)[part]


def mask(
    tokens: NDArray[np.int64], word_starts: NDArray[np.bool_], rate: float, ids: EncoderIds, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tokens as the model reads them, and where they are predicted: whole words, drawn until the rate is reached."""
    word_of = np.cumsum(word_starts) - 1
    sizes = np.bincount(word_of)
    order = rng.permutation(len(sizes))
    wanted = max(1, round(rate * len(tokens)))
    fitting = order[np.cumsum(sizes[order]) <= wanted]
    chosen = np.flatnonzero(np.isin(word_of, fitting if len(fitting) else order[:1]))
    read, dice = tokens.copy(), rng.random(len(chosen))
    others = rng.integers(ids.first_plain, ids.vocab_size, len(chosen))
    read[chosen] = np.where(dice < MASKED, ids.mask, np.where(dice < MASKED + OTHER, others, tokens[chosen]))
    return read, chosen


def part_near(tokens: NDArray[np.int64], rng: np.random.Generator, sentence_ends: frozenset[int]) -> int:
    """Where a passage is parted: after the sentence end that is nearest to a random point of its middle half, else at that point."""
    point = int(rng.integers(math.ceil(len(tokens) / 4), len(tokens) - len(tokens) // 4))
    ends = np.flatnonzero(np.isin(tokens[:-1], list(sentence_ends))) + 1
    ends = ends[(ends >= len(tokens) // 8) & (ends <= len(tokens) - len(tokens) // 8)]
    return int(ends[np.abs(ends - point).argmin()]) if len(ends) else point


def _padded(lengths: torch.Tensor, length: int) -> tuple[torch.Tensor, Rows]:
    """Where the tokens of rows behind one another stand once each row is filled up to one length, and how these attend: to what is a row's own."""
    own = torch.arange(length, device=lengths.device) < lengths[:, None]
    return own.flatten().nonzero()[:, 0], Rows(length, mask_of(own[:, None].expand(-1, length, -1)))


def _num_right(logits: torch.Tensor, targets: torch.Tensor) -> float:
    return float((logits.argmax(-1) == targets).sum())


def _token_logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.cls.predictions(hidden) if model.config.model_type == "bert" else model.decoder(model.head(hidden))


def _parts(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
