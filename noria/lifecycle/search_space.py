"""What a search for settings draws: those that the task and the method read, around the settings that plain tuning takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from noria.errors import ConfigError
from noria.train.task_config import TaskConfig, default_rate

Range = FloatDistribution | CategoricalDistribution
RATE_RANGE = 4.0
"""How far a trial's rate may be from the default, in both directions."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where each setting is drawn from, and what it is in the first trial."""

    ranges: Mapping[str, Range]
    default: Mapping[str, Any]


def space_of(config: TaskConfig, task: str, num_learning: int) -> Space:
    """The space of a task and a method.

    Args:
        num_learning: weights that learn, by which the default rate is derived.

    Raises:
        ConfigError: nothing that is drawn would be read.
    """
    fitted = task == "classify" and config.method == "head"
    if fitted:
        raise ConfigError("`--search` has nothing to draw for `--method head`, whose penalty is chosen on the evaluation file anyway. Leave it out.")
    read = {
        "learning_rate": True,
        "batch": True,
        "weight_decay": True,
        "warmup": True,
        "head_rate": config.method not in ("head", "contrast") and task != "embed",
        "dropout": True,
        "rank": config.method in ("lora", "dora"),
        "crf": task == "tag",
        "label_smoothing": task == "classify" and config.method != "contrast",
    }
    rate = config.learning_rate or default_rate(config.method, num_learning)
    default = {name: rate if name == "learning_rate" else getattr(config, name) for name, is_read in read.items() if is_read}
    return Space(ranges={name: _range(name, value) for name, value in default.items()}, default=default)


def _range(name: str, default: Any) -> Range:
    """What a setting is drawn from; its default is always in it."""
    choices: dict[str, list[Any]] = {"batch": [16, 32, 64], "dropout": [None, 0.1, 0.2], "rank": [8, 16, 32], "crf": [True, False]}
    if name in choices:
        return CategoricalDistribution(list(dict.fromkeys([*choices[name], default])))
    if name == "learning_rate":
        return FloatDistribution(default / RATE_RANGE, min(1.0, default * RATE_RANGE), log=True)
    if name == "head_rate":
        return FloatDistribution(min(0.5, default), max(50.0, default), log=True)
    highest = {"weight_decay": 0.1, "warmup": 0.3, "label_smoothing": 0.2}[name]
    return FloatDistribution(0.0, max(highest, default))
