"""Heads: what a task adds to an encoder or a decoder, one file a task, behind one seam (`head`)."""

from noria.train.heads.apply import cut_of, outputs_of, predict
from noria.train.heads.head import Head, Input, Prediction
from noria.train.heads.opening import HeadFile, open_head
from noria.train.heads.steps import InputSteps

__all__ = ["Head", "HeadFile", "Input", "InputSteps", "Prediction", "cut_of", "open_head", "outputs_of", "predict"]
