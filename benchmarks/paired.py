"""How often two equal systems are told apart, and how often two that differ are: simulated results of systems on the same rows, no model.

    python benchmarks/paired.py

For each kind of metric 5,000 pairs of equal systems on 100 rows, some of which are hard for both, and 5,000 pairs of which the second is truly
better. Reported is the share of pairs with p at most 0.05: of `noria evaluate`'s paired test (exact McNemar of right and wrong rows, paired
bootstrap of scores, approximate randomization of F1) and of the test that takes the two systems' rows for different ones (z-test of two
proportions, Welch's test, z-test of two F1). Then 5,000 families of ten comparisons of equal systems: how often any is found to differ, as it is and
with Holm's correction. Writes `benchmarks/results/paired.json`.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _harness import print_figures, write_results
from numpy.typing import NDArray
from scipy import stats

from noria.evaluate import counted, paired

Floats = NDArray[np.float64]
NUM_PAIRS = 5_000
NUM_ROWS = 100
NUM_DRAWS = 1_000
FAMILY = 10
ALPHA = 0.05
GAINS = {"right": 0.10, "score": 0.04, "f1": 0.06}
"""What the better system adds: to the chance of a right row, to the mean score, to the chance of each entity."""


class PValues(NamedTuple):
    """Two-sided p-values of the same pairs of systems: (pairs,)."""

    paired: Floats
    unpaired: Floats

    def rejected(self) -> tuple[float, float]:
        return float((self.paired <= ALPHA).mean()), float((self.unpaired <= ALPHA).mean())


def both_sides(better: Floats) -> Floats:
    """Two-sided from one-sided p-values of a symmetric test."""
    return np.minimum(1.0, 2 * np.minimum(better, 1 - better))


def chances(rng: np.random.Generator, num: int) -> Floats:
    """How easy each row is, for every system alike: (pairs, rows)."""
    return rng.beta(0.8, 0.5, size=(num, NUM_ROWS))


def right(rng: np.random.Generator, num: int, gain: float) -> PValues:
    """Rows that are right or wrong."""
    easy = chances(rng, num)
    before, after = rng.random(easy.shape) < easy, rng.random(easy.shape) < easy + gain * (1 - easy) / (1 - easy).mean()
    gains, losses = (~before & after).sum(1), (before & ~after).sum(1)
    exact = np.minimum(1.0, 2 * paired.mcnemar_better(np.maximum(gains, losses), np.minimum(gains, losses)))
    return PValues(exact, both_sides(paired.unpaired_z_better(before.sum(1), after.sum(1), NUM_ROWS)))


def score(rng: np.random.Generator, num: int, gain: float) -> PValues:
    """Rows that have a score of their own."""
    easy = chances(rng, num)
    before, after = (np.clip(easy + rng.normal(0, 0.15, easy.shape) + more, 0, 1) for more in (0.0, gain))
    found = [paired.paired_bootstrap(x, y, num_resamples=NUM_DRAWS, seed=i).p_two_sided for i, (x, y) in enumerate(zip(before, after, strict=True))]
    return PValues(np.array(found), np.asarray(stats.ttest_ind(after, before, axis=1, equal_var=False).pvalue))


def f1(rng: np.random.Generator, num: int, gain: float) -> PValues:
    """Rows with some entities to be found, of which F1 is made over all rows."""
    easy = chances(rng, num)
    wanted = rng.poisson(2, easy.shape)
    before, after = (_tagged(rng, wanted, easy + more * (1 - easy) / (1 - easy).mean()) for more in (0.0, gain))
    found = [paired.ratio_bootstrap(x, y, counted.f1, num_draws=NUM_DRAWS, seed=i).p for i, (x, y) in enumerate(zip(before, after, strict=True))]
    gap = counted.f1(after.sum(1)) - counted.f1(before.sum(1))
    z = np.abs(gap) / np.sqrt(_f1_variance(before) + _f1_variance(after))
    return PValues(np.array(found), 2 * stats.norm.sf(z))


def _tagged(rng: np.random.Generator, wanted: NDArray[np.int64], chance: Floats) -> Floats:
    """Hits, said and right of each row: (pairs, rows, 3)."""
    hits = rng.binomial(wanted, np.clip(chance, 0, 1))
    said = hits + rng.poisson(0.5 * (1 - np.clip(chance, 0, 1)))
    return np.stack([hits, said, wanted], axis=-1).astype(np.float64)


def _f1_variance(counts: Floats) -> Floats:
    """Of one system's F1, linearised: the rows' 2 hits - F1 (said + right)."""
    whole = counted.f1(counts.sum(1))
    rest = 2 * counts[..., 0] - whole[:, None] * (counts[..., 1] + counts[..., 2])
    return NUM_ROWS * rest.var(axis=1, ddof=1) / (counts[..., 1] + counts[..., 2]).sum(1) ** 2


SIMULATED: dict[str, Callable[[np.random.Generator, int, float], PValues]] = {"right": right, "score": score, "f1": f1}


def families(p_values: Floats) -> tuple[float, float]:
    """Share of families with a p-value at most alpha: as they are, and adjusted by Holm."""
    rows = p_values.reshape(-1, FAMILY)
    adjusted = np.array([min(paired.holm(row)) for row in rows.tolist()])
    return float((rows.min(1) <= ALPHA).mean()), float((adjusted <= ALPHA).mean())


def main() -> None:
    rng = np.random.default_rng(20260701)
    figures: dict[str, float] = {"alpha": ALPHA, "num_pairs": NUM_PAIRS, "num_rows": NUM_ROWS}
    for name, simulated in SIMULATED.items():
        equal, better = simulated(rng, NUM_PAIRS, 0.0).rejected(), simulated(rng, NUM_PAIRS, GAINS[name]).rejected()
        figures[f"equal_paired_{name}"], figures[f"equal_unpaired_{name}"] = equal
        figures[f"better_paired_{name}"], figures[f"better_unpaired_{name}"] = better
    figures["any_of_ten_as_is"], figures["any_of_ten_holm"] = families(right(rng, NUM_PAIRS * FAMILY, 0.0).paired)
    print_figures(figures)
    write_results("paired", figures)
    bound = ALPHA + 3 * (ALPHA * (1 - ALPHA) / NUM_PAIRS) ** 0.5
    worst = max(value for name, value in figures.items() if name.startswith("equal_paired") or name == "any_of_ten_holm")
    if worst > bound:
        sys.exit(f"Equal systems were told apart {worst:.4f} of the time, more than {bound:.4f}.")
    if any(figures[f"better_paired_{name}"] <= figures[f"better_unpaired_{name}"] for name in SIMULATED):
        sys.exit("A paired test found a true difference no more often than the unpaired one.")


if __name__ == "__main__":
    main()
