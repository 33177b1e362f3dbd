"""What a search for settings draws: those that the task and the method read, around the settings that plain tuning takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from noria.errors import ConfigError
from noria.train import TuneConfig
from noria.train.methods import unheeded
from noria.train.task_config import TaskConfig, default_rate

Range = FloatDistribution | CategoricalDistribution
DRAWN = ("learning_rate", "batch", "weight_decay", "warmup", "head_rate", "dropout", "rank", "crf", "label_smoothing", "bidirectional")
DRAWN_WRITING = ("learning_rate", "batch_tokens", "weight_decay", "warmup", "rank")
CHOICES: dict[str, list[Any]] = {
    "batch": [16, 32, 64],
    "batch_tokens": [768, 1536, 3072],
    "dropout": [None, 0.1, 0.2],
    "rank": [8, 16, 32],
    "crf": [True, False],
    "bidirectional": [False, True],
}
TURNED = ("classify", "tag")
"""Tasks for which it is tried whether a decoder does better where it reads in both directions."""
RATE_RANGE = 4.0
"""How far a trial's rate may be from the default, in both directions."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where each setting is drawn from, and what it is in the first trial."""

    ranges: Mapping[str, Range]
    default: Mapping[str, Any]


def space_of(config: TaskConfig, task: str, num_learning: int, turns: bool = False) -> Space:
    """The space of a task with a head and a method.

    Args:
        num_learning: weights that learn, by which the default rate is derived.
        turns: whether the base is a decoder that may read in both directions.

    Raises:
        ConfigError: nothing that is drawn would be read.
    """
    fitted = task == "classify" and config.method == "head"
    if fitted:
        raise ConfigError("`--search` has nothing to draw for `--method head`, whose penalty is chosen on the evaluation file anyway. Leave it out.")
    unread = unheeded(task, config.method)
    if config.label_smoothing or config.class_weights:
        unread.add("crf")  # beside which they are refused
    if task == "tag":
        unread.add("label_smoothing")  # for the same reason
    if config.method == "contrast":
        unread.add("head_rate")
    if not turns or task not in TURNED:
        unread.add("bidirectional")
    return _space(config, [name for name in DRAWN if name not in unread], config.learning_rate or default_rate(config.method, num_learning))


def space_of_writing(config: TuneConfig, task: str) -> Space:
    """The space of a model that writes."""
    return _space(config, [name for name in DRAWN_WRITING if name not in unheeded(task, config.method)], config.peak_rate)


def _space(config: TaskConfig | TuneConfig, names: Sequence[str], rate: float) -> Space:
    default = {name: rate if name == "learning_rate" else getattr(config, name) for name in names}
    return Space(ranges={name: _range(name, value) for name, value in default.items()}, default=default)


def _range(name: str, default: Any) -> Range:
    """What a setting is drawn from; its default is always in it."""
    if name in CHOICES:
        return CategoricalDistribution(list(dict.fromkeys([*CHOICES[name], default])))
    if name == "learning_rate":
        return FloatDistribution(default / RATE_RANGE, min(1.0, default * RATE_RANGE), log=True)
    if name == "head_rate":
        return FloatDistribution(min(0.5, default), max(50.0, default), log=True)
    highest = {"weight_decay": 0.1, "warmup": 0.3, "label_smoothing": 0.2}[name]
    return FloatDistribution(0.0, max(highest, default))
