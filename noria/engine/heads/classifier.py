"""Classification: the label of a text or a pair that the model finds most probable, or every label above a half."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from noria.data import ClassifyExample, Example
from noria.data.examples import HeadTask
from noria.data.task_checks import OUT_OF_SCOPE
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap
from noria.engine.heads.texts import TextReader
from noria.model import Tokenizer
from noria.model.precision import Precision


class Classifier(TextReader):
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
        super().__init__(tokenizer, wrap, with_kinds)
        self.labels, self.several, self.threshold = tuple(labels), several, threshold
        self._index = {label: index for index, label in enumerate(self.labels)}

    def _target(self, row: ClassifyExample) -> Any:
        label = row.label
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
