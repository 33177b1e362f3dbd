"""The training loop: examples in, a tuned model folder out, in the time given.

Objectives are functions from a model and a batch to a loss (`Objective`); supervised tuning stands here, preferences in `noria.align`.
"""

from noria.train.batches import Example, pack
from noria.train.config import TuneConfig
from noria.train.loop import TrainResult, train
from noria.train.objective import Loss, Objective
from noria.train.pretrain_config import PretrainConfig
from noria.train.run import Progress
from noria.train.supervised import Supervised, encode_chat, shared_prefix

__all__ = [
    "Example",
    "Loss",
    "Objective",
    "PretrainConfig",
    "Progress",
    "Supervised",
    "TrainResult",
    "TuneConfig",
    "encode_chat",
    "pack",
    "shared_prefix",
    "train",
]
