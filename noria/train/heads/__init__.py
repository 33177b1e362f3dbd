"""Heads: what a task adds to an encoder or a decoder so that it can be learnt, one file a task, behind one seam (`head`)."""

from noria.train.heads.apply import outputs_of
from noria.train.heads.head import Head
from noria.train.heads.steps import InputSteps

__all__ = ["Head", "InputSteps", "outputs_of"]
