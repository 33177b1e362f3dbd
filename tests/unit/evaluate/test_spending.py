"""The shares sum to the budget, come back with a promotion, and keep the promise in simulation."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.evaluate import spending


def test_shares_telescope() -> None:
    spent = sum(Fraction(1, (j + 1) * (j + 2)) for j in range(1_000))
    assert spent == 1 - Fraction(1, 1_001)
    assert sum(spending.share(j, 0.05) for j in range(1_000)) == pytest.approx(0.05 * 1_000 / 1_001)
    assert [spending.share(j, 0.06) for j in range(3)] == pytest.approx([0.03, 0.01, 0.005])


def test_a_stated_horizon_is_even_and_then_used_up() -> None:
    assert [spending.share(j, 0.05, horizon=2) for j in range(3)] == [0.025, 0.025, 0.0]
    assert [spending.budget_left(j, 0.05, horizon=2) for j in range(4)] == [0.05, 0.025, 0.0, 0.0]


@given(st.lists(st.booleans(), max_size=30), st.sampled_from([None, 40]))
def test_failures_alone_spend(promoted: list[bool], horizon: int | None) -> None:
    failed = sum(spending.next_level(promoted[:i], 0.05, horizon) for i, p in enumerate(promoted) if not p)
    assert failed == pytest.approx(0.05 - spending.budget_left(promoted.count(False), 0.05, horizon))


@pytest.mark.parametrize("share_better", [0.0, 0.5, 0.9])
def test_a_project_is_fooled_at_most_alpha_of_the_time(share_better: float) -> None:
    """Exact uniform p-values of no-better candidates, in any mixture with better ones, forty evaluations a project."""
    rng = np.random.default_rng(11)
    projects, alpha = 20_000, 0.05
    failures, fooled = np.zeros(projects), np.zeros(projects, dtype=bool)
    for _ in range(40):
        level = alpha / ((failures + 1) * (failures + 2))
        better = rng.random(projects) < share_better
        promoted = np.where(better, rng.random(projects) < 0.7, rng.random(projects) < level)
        fooled |= promoted & ~better
        failures += ~promoted
    assert fooled.mean() <= alpha + 3 * np.sqrt(alpha / projects)
