"""Minutes are a number that a run can end by."""

import math

import pytest

from noria.config import MOST_MINUTES, Section
from noria.lifecycle.config import ImproveConfig
from noria.lifecycle.race import RaceConfig
from noria.lifecycle.untrained import UntrainedConfig
from noria.train import TuneConfig
from noria.train.pretrain_config import PretrainConfig
from noria.train.task_config import TaskConfig

METHODS = {RaceConfig: "best", UntrainedConfig: "retrieval"}
"""Of the sections that a method must name."""


@pytest.mark.parametrize("section", [ImproveConfig, RaceConfig, UntrainedConfig, TuneConfig, PretrainConfig, TaskConfig])
@pytest.mark.parametrize("minutes", [math.inf, math.nan, 1e300, 0, -1])
def test_no_run_is_asked_to_last_for_ever(section: type[Section], minutes: float) -> None:
    with pytest.raises(ValueError, match="minutes"):
        section.model_validate({**_needed(section), "minutes": minutes})
    assert section.model_validate({**_needed(section), "minutes": MOST_MINUTES})


def _needed(section: type[Section]) -> dict[str, str]:
    return {"method": METHODS[section]} if section in METHODS else {}
