"""Classification: one label of a text or a pair, or several.

One label: L = -sum_n w_y (1 - e) log p(y_n | x_n) - e/K sum_k log p(k | x_n), with class weights w and smoothing e (Szegedy et al. 2016). Several
labels: the sum of the binary cross entropies of all labels, each with the targets 1 - e/2 and e/2.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional

from noria.data import ClassifyExample, Example
from noria.data.task_checks import OUT_OF_SCOPE
from noria.errors import DataError
from noria.model import Tokenizer
from noria.train.heads.head import Input, Prediction, padded
from noria.train.heads.text_input import Wrap
from noria.train.objective import Loss
from noria.train.precision import Precision

_WORD = re.compile(r"[^\W\d_]{3}|[一-鿿]{2}")


class Classify:
    """The head.

    Args:
        labels: in the order of the model's outputs.
        several: whether a row has any number of them.
        smoothing: share of the target that is spread over all labels.
        class_weights: what a row of each label counts; empty: all alike.
        threshold: probability below which no label fits (`out_of_scope`), found by `noria.train.heads.scope`; 0: one always does.
    """

    task = "classify"
    auto_class = "AutoModelForSequenceClassification"
    precision: Precision | None = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        wrap: Wrap,
        labels: Sequence[str],
        several: bool = False,
        smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
        with_kinds: bool = False,
        threshold: float = 0.0,
    ) -> None:
        self.tokenizer, self.wrap, self.labels, self.several = tokenizer, wrap, tuple(labels), several
        self.threshold = threshold
        self.smoothing, self.with_kinds = smoothing, with_kinds
        self.class_weights = torch.tensor(class_weights) if class_weights else None
        self._index = {label: index for index, label in enumerate(self.labels)}

    def settings(self) -> dict[str, Any]:
        kind = "multi_label_classification" if self.several else "single_label_classification"
        return {"num_labels": len(self.labels), "id2label": dict(enumerate(self.labels)), "label2id": self._index, "problem_type": kind}

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        rows = cast(Sequence[ClassifyExample], rows)
        firsts = self.tokenizer.encode_batch([row.text for row in rows])
        seconds = self.tokenizer.encode_batch([row.text_pair or "" for row in rows])
        return [self._input(index, row, *both) for index, (row, both) in enumerate(zip(rows, zip(firsts, seconds, strict=True), strict=True))]

    def _input(self, index: int, row: ClassifyExample, first: list[int], second: list[int]) -> Input:
        target = self._target(row.label)
        if row.text_pair is None:
            room = self.wrap.room()
            return Input(row=index, token_ids=self.wrap.one(first[:room]), target=target, num_cut=max(0, len(first) - room))
        token_ids, kinds = self.wrap.pair(first, second)
        num_cut = max(0, len(first) + len(second) - self.wrap.room(2))
        return Input(row=index, token_ids=token_ids, kinds=kinds, target=target, num_cut=num_cut)

    def _target(self, label: str | tuple[str, ...] | None) -> Any:
        if label is None:
            return None
        if self.several:
            chosen = {label} if isinstance(label, str) else set(label)
            return [float(name in chosen) for name in self.labels]
        return self._index.get(cast(str, label))

    def weight(self, inputs: Sequence[Input]) -> float:
        if self.class_weights is None or self.several:
            return float(len(inputs))
        return float(sum(self.class_weights[one.target].item() for one in inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        logits = self._logits(model, inputs)
        targets = torch.tensor([one.target for one in inputs], device=logits.device)
        if self.several:
            smoothed = targets * (1 - self.smoothing) + self.smoothing / 2
            return Loss(total=functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="sum"))
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return Loss(total=functional.cross_entropy(logits, targets, weight=weights, label_smoothing=self.smoothing, reduction="sum"))

    def outputs(self, model: Any, inputs: Sequence[Input]) -> list[torch.Tensor]:
        return self.probabilities(self._logits(model, inputs))

    def probabilities(self, logits: torch.Tensor) -> list[torch.Tensor]:
        """Of each label, from (inputs, labels)."""
        return list((logits.sigmoid() if self.several else logits.softmax(-1)).cpu())

    def predictions(self, _rows: Sequence[Example], _inputs: Sequence[Input], outputs: Sequence[Any]) -> list[Prediction]:
        return [self._prediction(scores.tolist()) for scores in outputs]

    def _prediction(self, scores: list[float]) -> Prediction:
        if self.several:
            chosen = [index for index, score in enumerate(scores) if score > 0.5]
            output = {"labels": [self.labels[i] for i in chosen], "scores": [round(scores[i], 6) for i in chosen]}
        else:
            best = max(range(len(scores)), key=scores.__getitem__)
            fits = scores[best] >= self.threshold
            sure = scores[best] if fits else 1 - scores[best]
            output = {"label": self.labels[best] if fits else OUT_OF_SCOPE, "score": round(sure, 6)}
        return Prediction(output=output, scores=tuple(scores))

    def _logits(self, model: Any, inputs: Sequence[Input]) -> torch.Tensor:
        return model(**padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)).logits.float()


def labels_of(rows: Sequence[ClassifyExample], path: object) -> tuple[list[str], bool]:
    """The labels of a training file, sorted, and whether rows have any number of them. Raises DataError where nothing can be told apart."""
    several = any(not isinstance(row.label, str) for row in rows)
    names = sorted({label for row in rows for label in ([row.label] if isinstance(row.label, str) else row.label or ())})
    if len(names) < 2 and not (several and names):
        raise DataError(f"'{path}' has one label only, {names[0] if names else 'none'!r}: there is nothing to tell apart. Add rows of other labels.")
    return names, several


def balanced(rows: Sequence[ClassifyExample], labels: Sequence[str]) -> list[float]:
    """Class weights n / (K n_k): every label counts alike in sum."""
    counts = Counter(row.label for row in rows)
    return [len(rows) / (len(labels) * counts[label]) for label in labels]


def named(labels: Sequence[str]) -> list[ClassifyExample]:
    """The names of labels as texts of them, where they are words: `lost_or_stolen_card` is one, `17` is not."""
    texts = {label: re.sub(r"[_\W]+", " ", label).strip() for label in labels}
    return [ClassifyExample(text=text, label=label) for label, text in texts.items() if _WORD.search(text)]
