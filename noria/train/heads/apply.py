"""A model that learns, asked as it is."""

from collections.abc import Sequence
from typing import Any

from noria.engine.heads import Input
from noria.engine.heads import outputs_of as outputs_by
from noria.engine.heads.reader import Floats
from noria.engine.heads.runners import torch_runner
from noria.train.heads.head import Head


def outputs_of(head: Head, model: Any, inputs: Sequence[Input]) -> list[Floats]:
    """What the model says of each input, in their order."""
    return outputs_by(head, torch_runner(model, head.precision), inputs)
