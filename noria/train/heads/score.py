"""Regression: what is learnt of the number that belongs to a text or a pair.

L = (z - (y - m) / s)^2 / 2 for the output z and the score y, with the mean m and the standard deviation s of the training file.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import torch

from noria.data import ScoreExample
from noria.engine.heads import Input, Scorer
from noria.errors import DataError
from noria.train.heads.head import padded
from noria.train.objective import Loss


class Score(Scorer):
    """The head."""

    def settings(self) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def weight(self, inputs: Sequence[Input]) -> float:
        return float(len(inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        given = model(**padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)).logits.float()[:, 0]
        targets = torch.tensor([one.target for one in inputs], device=given.device, dtype=torch.float32)
        return Loss(total=(given - targets).square().sum() / 2)


def center_and_spread(rows: Sequence[ScoreExample], path: object) -> tuple[float, float]:
    """Mean and standard deviation of the scores. Raises DataError where all are alike."""
    scores = [row.score for row in rows if row.score is not None]
    spread = statistics.pstdev(scores)
    if not spread:
        raise DataError(f"'{path}' has the score {scores[0]:g} in every row: there is nothing to learn. Add rows with other scores.")
    return statistics.fmean(scores), spread
