"""Numbers of a regression keep what tells them apart, whatever their unit."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from noria.engine.heads import Scorer

OFF = (-1.25, 0.0, 0.5, 2.0)
"""What a model gives: how many spreads off the center."""


def scores(center: float, spread: float, off: Sequence[float] = OFF) -> list[float]:
    scorer = Scorer(cast(Any, None), cast(Any, None), center, spread)
    outputs = scorer.outputs([], {"logits": np.array(off, dtype=np.float32)[:, None]})
    return [one.output["score"] for one in scorer.predictions([], [], outputs)]


@pytest.mark.parametrize(
    ("center", "spread"), [(0.0, 1.0), (1.7e9, 40.0), (2e-7, 1e-8), (1e39, 1e38), (-1e100, 9.3e99), (0.0, 5e-324), (3.0, 1e-300)]
)
def test_a_score_is_its_spreads_off_the_center_in_any_unit(center: float, spread: float) -> None:
    assert scores(center, spread) == pytest.approx([center + number * spread for number in OFF], abs=spread * 1e-6, rel=1e-15)


def test_timestamps_keep_their_order() -> None:
    found = scores(1.7e9, 40.0, [step / 100 for step in range(100)])
    assert found == sorted(set(found))


def test_digits_below_what_the_model_tells_apart_are_not_written() -> None:
    assert scores(300.0, 200.0, [1 / 3]) == [366.6667]
    assert scores(0.0, 1.0, [1 / 3]) == [0.333333]
