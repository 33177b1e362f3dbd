"""Paired tests keep their level where two systems are equal, and find a true difference more often than tests that forget the pairing."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
KINDS = ("right", "score", "f1")


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("paired")


def check(simulation: Any, kind: str, num_pairs: int) -> None:
    rng = np.random.default_rng(11)
    equal, _ = simulation.SIMULATED[kind](rng, num_pairs, 0.0).rejected()
    assert 0.005 < equal <= 0.05 + 3 * (0.05 * 0.95 / num_pairs) ** 0.5
    found, found_unpaired = simulation.SIMULATED[kind](rng, num_pairs, simulation.GAINS[kind]).rejected()
    assert found > found_unpaired + 3 * (0.5 / num_pairs) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_some_hundred_pairs(simulation: Any, kind: str) -> None:
    check(simulation, kind, 5_000 if kind == "right" else 300)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_five_thousand_pairs(simulation: Any, kind: str) -> None:
    check(simulation, kind, 5_000)


def test_ten_comparisons_at_once_keep_the_level_by_holms_correction(simulation: Any) -> None:
    as_is, adjusted = simulation.families(np.random.default_rng(12).random(20_000))
    assert as_is == pytest.approx(1 - 0.95**10, abs=0.04)
    assert adjusted <= 0.05 + 3 * (0.05 * 0.95 / 2_000) ** 0.5
