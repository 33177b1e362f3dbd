"""Classification: the label of a text or a pair that the model finds most probable, or every label above a half."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from noria.data import ClassifyExample, Example
from noria.data.examples import HeadTask
from noria.data.task_checks import OUT_OF_SCOPE
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap
from noria.model import Tokenizer
from noria.model.precision import Precision


class Classifier:
    """The reader.

    Args:
        labels: in the order of the model's outputs.
        several: whether a row has any number of them.
        threshold: probability below which no label fits (`out_of_scope`); 0: one always does.
    """

    task: HeadTask = "classify"
    auto_class = "AutoModelForSequenceClassification"
    precision: Precision | None = None

    def __init__(
        self, tokenizer: Tokenizer, wrap: Wrap, labels: Sequence[str], several: bool = False, with_kinds: bool = False, threshold: float = 0.0
    ) -> None:
        self.tokenizer, self.wrap, self.labels, self.several = tokenizer, wrap, tuple(labels), several
        self.with_kinds, self.threshold = with_kinds, threshold
        self._index = {label: index for index, label in enumerate(self.labels)}

    @property
    def cut_field(self) -> tuple[str, int]:
        return "text", self.wrap.room()

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

    def outputs(self, _inputs: Sequence[Input], found: Mapping[str, Floats]) -> list[Floats]:
        return list(self.probabilities(found["logits"]))

    def probabilities(self, logits: Floats) -> Floats:
        """Of each label: (inputs, labels)."""
        if self.several:
            return np.reciprocal(1 + np.exp(-logits), dtype=np.float32)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return shares / shares.sum(axis=-1, keepdims=True)

    def predictions(self, _rows: Sequence[Example], _inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
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
