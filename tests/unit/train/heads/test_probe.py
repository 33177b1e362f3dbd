"""The last layer's fit: strengths are tried as long as there is time."""

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from noria.engine.heads import Input
from noria.train.heads.classify import Classify
from noria.train.heads.probe import START_STRENGTH, STRENGTHS, best_strength, fit, some_of_each


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


def test_of_many_texts_some_of_each_label_are_kept() -> None:
    inputs = [Input(row=row, token_ids=(1,), target=0 if row else 1) for row in range(100)]
    kept = some_of_each(inputs, 10, seed=0)
    assert len({one.row for one in kept}) == len(kept) == 10
    assert {one.target for one in kept} == {0, 1}
    assert some_of_each(inputs, 10, seed=0) == kept
    assert {one.target for one in some_of_each(inputs, 0, seed=0)} == {0, 1}


def test_of_more_labels_than_there_is_room_for_some_are_kept() -> None:
    inputs = [Input(row=row, token_ids=(1,), target=row % 50) for row in range(100)]
    assert len({one.target for one in some_of_each(inputs, 7, seed=0)}) == len(some_of_each(inputs, 7, seed=0)) == 7


@pytest.mark.parametrize("seen", [(0, 2), (0, 1, 3)])
def test_a_class_without_rows_is_never_the_likeliest(seen: tuple[int, ...]) -> None:
    model = Layered(bias=True)
    model.score = torch.nn.Linear(4, 4)
    head = cast(Classify, SimpleNamespace(class_weights=None, several=False, labels=("a", "b", "c", "d")))
    features = np.eye(4, dtype=np.float32)[list(seen)]
    fit(head, model, features, list(seen), START_STRENGTH)
    assert model.score(torch.from_numpy(features)).argmax(-1).tolist() == list(seen)
    assert set(model.score(torch.randn(200, 4)).argmax(-1).tolist()) <= set(seen)
