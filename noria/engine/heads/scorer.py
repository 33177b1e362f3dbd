"""Regression: a number for a text or a pair."""

from collections.abc import Mapping, Sequence

import numpy as np

from noria.data import Example, ScoreExample
from noria.data.examples import HeadTask
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap
from noria.engine.heads.texts import TextReader
from noria.model import Tokenizer
from noria.model.precision import Precision


class Scorer(TextReader):
    """The reader.

    Args:
        center, spread: mean and standard deviation of the scores that were learnt from; the model gives how many of the latter off the former.
    """

    task: HeadTask = "score"
    auto_class = "AutoModelForSequenceClassification"
    precision: Precision | None = None

    def __init__(self, tokenizer: Tokenizer, wrap: Wrap, center: float = 0.0, spread: float = 1.0, with_kinds: bool = False) -> None:
        super().__init__(tokenizer, wrap, with_kinds)
        self.center, self.spread = center, spread

    def _target(self, row: ScoreExample) -> float | None:
        return None if row.score is None else (row.score - self.center) / self.spread

    def outputs(self, _inputs: Sequence[Input], found: Mapping[str, Floats]) -> list[Floats]:
        """The score of each input, in the unit of the rows: (1,)."""
        return list(np.asarray(found["logits"] * self.spread + self.center, dtype=np.float32))

    def predictions(self, _rows: Sequence[Example], _inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
        return [Prediction(output={"score": round(float(one[0]), 6)}) for one in outputs]
