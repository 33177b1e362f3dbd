"""A head with its model at work: rows in, predictions out, batched by length."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from noria.data import Example
from noria.train.heads.answer import Answer
from noria.train.heads.head import Head, Input, Prediction
from noria.train.heads.steps import in_parts
from noria.train.precision import products_in

MAX_TOKENS = 8192
"""Of the inputs that go through the model at once."""
_log = logging.getLogger(__name__)


def outputs_of(head: Head, model: Any, inputs: Sequence[Input], max_tokens: int = MAX_TOKENS) -> list[Any]:
    """What the model says of each input, in their order."""
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].token_ids))
    found: list[Any] = [None] * len(inputs)
    at = 0
    with torch.no_grad(), products_in(head.precision, model.device):
        for part in in_parts([inputs[index] for index in order], max_tokens):
            for output in head.outputs(model, part):
                found[order[at]] = output
                at += 1
    return found


def predict(head: Head, model: Any, rows: Sequence[Example], max_tokens: int = MAX_TOKENS) -> list[Prediction]:
    """One prediction of each row, in their order."""
    inputs = head.inputs(rows)
    cut = cut_of(head, inputs)
    if cut:
        _log.warning("%s", cut)
    return head.predictions(rows, inputs, outputs_of(head, model, inputs, max_tokens))


def cut_of(head: Head, inputs: Sequence[Input]) -> str | None:
    """One sentence about the rows that no input reads to their end; None where there are none. Rows in windows are read whole."""
    count = len({one.row for one in inputs if one.num_cut})
    if not count:
        return None
    field, longest = ("question", head.question_room) if isinstance(head, Answer) else ("text", head.wrap.room())
    return f"{count:,} of {len({one.row for one in inputs}):,} rows have a {field} of more than {longest} tokens; the rest of it is not read."
