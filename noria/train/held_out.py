"""The rows that weights are chosen by: tokenized once, scored as often as there is time for, and, at the end, what a head is calibrated on."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from noria.data import AnswerExample, ClassifyExample, Example
from noria.data.task_checks import OUT_OF_SCOPE
from noria.engine.heads import Input
from noria.engine.heads.answerer import NOTHING
from noria.train.heads import Head, outputs_of
from noria.train.heads.answer import Answer
from noria.train.heads.classify import Classify
from noria.train.heads.scope import cut_of_margins, threshold_of

Score = Callable[[Sequence[Example], Sequence[Mapping[str, Any]]], Mapping[str, float]]
"""Metrics of predictions on rows; `score` of them is what the best weights are chosen by."""
NUM_TIMED = 256
"""Rows by which it is judged how long all of them take."""
SHARE_FOR_VALIDATIONS = 0.1
"""Of the time, where more are wanted than fit in it."""
LEAST_SHARE_FOR_STEPS = 0.1
"""Of the time, however much else there is to do."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Rows, as the head reads them, and their score."""

    rows: Sequence[Example]
    inputs: Sequence[Input]
    score: Score

    @classmethod
    def of(cls, head: Head, rows: Sequence[Example], score: Score) -> "HeldOut":
        return cls(rows=rows, inputs=head.inputs(rows), score=score)

    def scored(self, head: Head, model: Any) -> dict[str, float]:
        """The metrics of a model as it is."""
        return self.metrics(head, outputs_of(head, model, self.inputs))

    def metrics(self, head: Head, outputs: Sequence[Any]) -> dict[str, float]:
        """The metrics of what a model said."""
        return dict(self.score(self.rows, [one.output for one in head.predictions(self.rows, self.inputs, outputs)]))

    def seconds(self, head: Head, model: Any) -> float:
        """How long scoring takes, judged by some of the rows."""
        model.eval()
        some = self if len(self.rows) <= NUM_TIMED else HeldOut.of(head, random.Random(0).sample(self.rows, NUM_TIMED), self.score)
        began = time.monotonic()
        some.scored(head, model)
        return (time.monotonic() - began) * len(self.inputs) / len(some.inputs)

    def calibrated(self, head: Head, model: Any, out_of_scope: bool | None) -> dict[str, float]:
        """Choose when the head says that nothing fits, where it is to say so; then its metrics."""
        model.eval()
        outputs = outputs_of(head, model, self.inputs)
        if isinstance(head, Classify) and not head.several:
            self._choose_threshold(head, outputs, out_of_scope)
        if isinstance(head, Answer) and self.has_rows_without_answer:
            self._choose_margin(head, outputs)
        return self.metrics(head, outputs)

    @property
    def has_rows_without_answer(self) -> bool:
        return any(row.answers is None or not row.answers.text for row in cast(Sequence[AnswerExample], self.rows))

    def _choose_threshold(self, head: Classify, outputs: Sequence[Any], wanted: bool | None) -> None:
        outside = [isinstance(row, ClassifyExample) and row.label == OUT_OF_SCOPE for row in self.rows]
        if (any(outside) and OUT_OF_SCOPE not in head.labels) if wanted is None else wanted:
            found = head.predictions(self.rows, self.inputs, outputs)
            head.threshold = threshold_of([max(one.scores) for one in found], outside)

    def _choose_margin(self, head: Answer, outputs: Sequence[Any]) -> None:
        head.none_margin = None
        found = head.predictions(self.rows, self.inputs, outputs)
        answered = [self.score([row], [one.output])["score"] for row, one in zip(self.rows, found, strict=True)]
        refused = [self.score([row], [NOTHING])["score"] for row in self.rows]
        head.none_margin = -cut_of_margins([one.scores[0] for one in found], answered, refused)


def shared_out(seconds: float, each: float, wanted: int) -> tuple[int, float]:
    """How often to validate, and the seconds that are left for steps.

    Args:
        seconds: for both, and for scoring once more at the end. each: that scoring takes. wanted: validations, if there is time.
    """
    number = max(1, min(wanted, int(SHARE_FOR_VALIDATIONS * seconds / max(each, 1e-9))))
    return number, max(LEAST_SHARE_FOR_STEPS * seconds, seconds - (number + 1) * each)


def num_in_time(seconds: float, each: float, num_rows: int, num_scorings: int = 0) -> int:
    """How many inputs go through a model in the seconds that scoring leaves.

    Args:
        each: seconds that scoring `num_rows` inputs takes. num_scorings: how often that is still to be done in the same seconds.
    """
    left = max(LEAST_SHARE_FOR_STEPS * seconds, seconds - num_scorings * each)
    return int(left * num_rows / max(each, 1e-9))
