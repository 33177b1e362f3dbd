"""Regression: a number for a text or a pair."""

import math
from collections.abc import Mapping, Sequence

from noria.data import Example, ScoreExample
from noria.data.examples import HeadTask
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap
from noria.engine.heads.texts import TextReader
from noria.model import Tokenizer
from noria.model.precision import Precision

DIGITS = 6
"""Decimal places of a score, counted from the first digit of the spread: the model tells no more apart."""


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
        """How many spreads the score of each input is off the center: (1,). In this unit single precision suffices."""
        return list(found["logits"])

    def predictions(self, _rows: Sequence[Example], _inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
        """The score of each row, in the unit of the rows, to a millionth of the spread's order."""
        num_digits = DIGITS - math.floor(math.log10(self.spread))
        return [Prediction(output={"score": round(float(one[0]) * self.spread + self.center, num_digits)}) for one in outputs]
