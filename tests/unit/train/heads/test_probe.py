"""The last layer's fit: strengths are tried as long as there is time."""

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from noria.train.heads.classify import Classify
from noria.train.heads.probe import START_STRENGTH, STRENGTHS, best_strength


class Layered(torch.nn.Module):
    """A model that is its last layer."""

    base_model_prefix = "base"

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.score = torch.nn.Linear(2, 2, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("seconds", "tried"), [(60.0, len(STRENGTHS)), (-1.0, 1)])
def test_one_strength_is_tried_without_time_and_all_with_it(bias: bool, seconds: float, tried: int) -> None:
    model = Layered(bias)
    head = cast(Classify, SimpleNamespace(class_weights=None, several=False, labels=("a", "b")))
    features = np.array([[1.0, 0.1], [0.9, 0.0], [-1.0, 0.1], [-0.9, 0.0]], dtype=np.float32)
    seen: list[Any] = []

    def score() -> float:
        seen.append(model.score.weight.detach().clone())
        return 1.0

    assert best_strength(head, model, features, [0, 0, 1, 1], score, time.monotonic() + seconds) == START_STRENGTH
    assert len(seen) == tried
    assert model.score(torch.from_numpy(features)).argmax(-1).tolist() == [0, 0, 1, 1]
