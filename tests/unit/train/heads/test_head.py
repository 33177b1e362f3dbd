"""What is computed of inputs of like length together stands in the inputs' own order."""

import random
from collections.abc import Sequence

import torch

from noria.engine.heads import Input
from noria.train.heads.head import of_like_length


def test_parts_are_of_like_length_and_the_order_is_the_inputs_own() -> None:
    rng = random.Random(0)
    inputs = [Input(token_ids=(number,) * rng.randint(1, 30), row=number, target=None) for number in range(40)]
    padded: list[int] = []

    def compute(part: Sequence[Input]) -> torch.Tensor:
        padded.append(len(part) * max(len(one.token_ids) for one in part))
        return torch.tensor([[float(one.row), float(len(one.token_ids))] for one in part])

    found = of_like_length(inputs, compute, 100)
    assert found.tolist() == [[one.row, len(one.token_ids)] for one in inputs]
    assert max(padded) <= 100
    assert sum(padded) < 1.2 * sum(len(one.token_ids) for one in inputs)
