"""Classification: what is learnt of the label of a text or a pair, or of several.

One label: L = -sum_n w_y (1 - e) log p(y_n | x_n) + e/K sum_k w_k log p(k | x_n), with class weights w and smoothing e (Szegedy et al. 2016). Several
labels: the sum of the binary cross entropies of all labels, each with the targets 1 - e/2 and e/2.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import functional

from noria.data import ClassifyExample
from noria.engine.heads import Classifier, Input, Wrap
from noria.errors import DataError
from noria.model import Tokenizer
from noria.train.heads.head import padded
from noria.train.objective import Loss

_WORD = re.compile(r"[^\W\d_]{3}|[一-鿿]{2}")


class Classify(Classifier):
    """The head.

    Args:
        smoothing: share of the target that is spread over all labels.
        class_weights: what a row of each label counts; empty: all alike.
    """

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
        super().__init__(tokenizer, wrap, labels, several, with_kinds, threshold)
        self.smoothing = smoothing
        self.class_weights = torch.tensor(class_weights) if class_weights else None

    def settings(self) -> dict[str, Any]:
        kind = "multi_label_classification" if self.several else "single_label_classification"
        return {"num_labels": len(self.labels), "id2label": dict(enumerate(self.labels)), "label2id": self._index, "problem_type": kind}

    def weight(self, inputs: Sequence[Input]) -> float:
        if self.class_weights is None or self.several:
            return float(len(inputs))
        return float(sum(self.class_weights[one.target].item() for one in inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        logits = model(**padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)).logits.float()
        targets = torch.tensor([one.target for one in inputs], device=logits.device)
        if self.several:
            smoothed = targets * (1 - self.smoothing) + self.smoothing / 2
            return Loss(total=functional.binary_cross_entropy_with_logits(logits, smoothed, reduction="sum"))
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        return Loss(total=functional.cross_entropy(logits, targets, weight=weights, label_smoothing=self.smoothing, reduction="sum"))


def labels_of(rows: Sequence[ClassifyExample], path: object) -> tuple[list[str], bool]:
    """The labels of a training file, sorted, and whether rows have any number of them. Raises DataError where nothing can be told apart."""
    several = any(not isinstance(row.label, str) for row in rows)
    names = sorted({label for row in rows for label in ([row.label] if isinstance(row.label, str) else row.label or ())})
    if len(names) < 2 and not (several and names):
        raise DataError(f"'{path}' has one label only, {names[0] if names else 'none'!r}: there is nothing to tell apart. Add rows of other labels.")
    return names, several


def balanced(known: Iterable[object], labels: Sequence[str]) -> list[float]:
    """Class weights n / (K n_k): every label counts alike in sum; one that never stands among the `known` counts as one that does once."""
    counts = Counter(known)
    return [counts.total() / (len(labels) * max(1, counts[label])) for label in labels]


def named(labels: Sequence[str]) -> list[ClassifyExample]:
    """The names of labels as texts of them, where they are words: `lost_or_stolen_card` is one, `17` is not."""
    texts = {label: re.sub(r"[_\W]+", " ", label).strip() for label in labels}
    return [ClassifyExample(text=text, label=label) for label, text in texts.items() if _WORD.search(text)]
