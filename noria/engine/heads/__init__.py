"""Heads at work: texts in, labels, tags or answers out, by the inference engine; what `noria tune` made, without the libraries of training.

Importing this package imports neither torch nor OpenVINO.
"""

from noria.engine.heads.answerer import Answerer
from noria.engine.heads.classifier import Classifier
from noria.engine.heads.embedder import Embedder
from noria.engine.heads.opening import DONE, NAME, HeadFile, OpenHead, not_tuned, open_head
from noria.engine.heads.reader import Input, Prediction, Reader, Runner, cut_of, outputs_of, padded
from noria.engine.heads.scorer import Scorer
from noria.engine.heads.tagger import Tagger
from noria.engine.heads.text_input import Wrap, windows

__all__ = [
    "DONE",
    "NAME",
    "Answerer",
    "Classifier",
    "Embedder",
    "HeadFile",
    "Input",
    "OpenHead",
    "Prediction",
    "Reader",
    "Runner",
    "Scorer",
    "Tagger",
    "Wrap",
    "cut_of",
    "not_tuned",
    "open_head",
    "outputs_of",
    "padded",
    "windows",
]
