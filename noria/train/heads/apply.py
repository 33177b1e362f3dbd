"""A head with its model at work: rows in, predictions out, batched by length."""

from collections.abc import Sequence
from typing import Any

import torch

from noria.data import Example
from noria.train.heads.head import Head, Input, Prediction
from noria.train.heads.steps import in_parts

MAX_TOKENS = 8192
"""Of the inputs that go through the model at once."""


def outputs_of(head: Head, model: Any, inputs: Sequence[Input], max_tokens: int = MAX_TOKENS) -> list[Any]:
    """What the model says of each input, in their order."""
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].token_ids))
    found: list[Any] = [None] * len(inputs)
    at = 0
    with torch.no_grad():
        for part in in_parts([inputs[index] for index in order], max_tokens):
            for output in head.outputs(model, part):
                found[order[at]] = output
                at += 1
    return found


def predict(head: Head, model: Any, rows: Sequence[Example], max_tokens: int = MAX_TOKENS) -> list[Prediction]:
    """One prediction of each row, in their order."""
    inputs = head.inputs(rows)
    return head.predictions(rows, inputs, outputs_of(head, model, inputs, max_tokens))
