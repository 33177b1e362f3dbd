"""How often the gate is fooled, and how often it sees a true gain: simulated projects and candidates, no model.

    python benchmarks/gate.py

Under no change: 2,000 projects of ten successive candidates each that are no better (gain and loss equally likely on an item); reported is
the share of projects that ever promoted one, which `[gate] alpha` (0.05) bounds. The same with every third candidate truly better, where
promotions give their budget back. With a true gain of ten points on 200 items: the power of the gate's paired test beside that of an
unpaired z-test at the same level, and over ten releases beside other ways of spreading the budget. Writes `benchmarks/results/gate.json`.
"""

import sys

import numpy as np
from _harness import write_results
from numpy.typing import NDArray

from noria.evaluate import paired, spending
from noria.evaluate.gate import GateConfig

NUM_CANDIDATES = 2_000
NUM_RELEASES = 10
NUM_ITEMS = 200
GAIN = 0.10
ALPHA = GateConfig().alpha
BASE_RATE = 0.5
LOSS_RATES = (0.05, 0.10, 0.20)
"""Share of items on which a candidate fails where the live release passed; gains are as many, plus the true gain."""


def draw(rng: np.random.Generator, num: int, loss_rate: float, gain: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gains and losses of `num` candidates on `NUM_ITEMS` items each."""
    cells = rng.multinomial(NUM_ITEMS, [loss_rate + gain, loss_rate, 1 - 2 * loss_rate - gain], size=num)
    return cells[:, 0], cells[:, 1]


def fooled(rng: np.random.Generator, loss_rate: float, better_every: int | None) -> float:
    """Share of projects that promoted a candidate that is no better, within ten evaluations."""
    levels = np.array([spending.share(failures, ALPHA) for failures in range(NUM_RELEASES + 1)])
    failures, ever = np.zeros(NUM_CANDIDATES, dtype=int), np.zeros(NUM_CANDIDATES, dtype=bool)
    for release in range(NUM_RELEASES):
        better = better_every is not None and release % better_every == better_every - 1
        gains, losses = draw(rng, NUM_CANDIDATES, loss_rate, GAIN if better else 0.0)
        promoted = paired.mcnemar_better(gains, losses) <= levels[failures]
        if not better:
            ever |= promoted
        failures += ~promoted
    return float(ever.mean())


def power(rng: np.random.Generator, loss_rate: float, level: float) -> tuple[float, float]:
    """Share of truly better candidates found by the paired test, and by an unpaired z-test of the same results."""
    gains, losses = draw(rng, NUM_CANDIDATES, loss_rate, GAIN)
    # Items both releases treat alike: passed by both so that the live release passes `BASE_RATE` of all.
    both = rng.binomial(NUM_ITEMS - gains - losses, BASE_RATE)
    seen = paired.mcnemar_better(gains, losses) <= level
    unpaired = paired.unpaired_z_better(both + losses, both + gains, NUM_ITEMS) <= level
    return float(seen.mean()), float(unpaired.mean())


def power_of_schedules(rng: np.random.Generator, loss_rate: float) -> dict[str, float]:
    """Mean power over ten releases that are all truly better, by the way the budget is spread."""
    gains, losses = draw(rng, NUM_CANDIDATES * NUM_RELEASES, loss_rate, GAIN)
    p = paired.mcnemar_better(gains, losses).reshape(NUM_CANDIDATES, NUM_RELEASES)
    levels = np.array([spending.share(failures, ALPHA) for failures in range(NUM_RELEASES + 1)])
    failures, found = np.zeros(NUM_CANDIDATES, dtype=int), np.zeros(NUM_CANDIDATES)
    for release in range(NUM_RELEASES):
        promoted = p[:, release] <= levels[failures]
        found += promoted
        failures += ~promoted
    index = np.arange(1, NUM_RELEASES + 1)
    fixed = {"no_recycling": ALPHA / (index * (index + 1)), "basel": ALPHA * 6 / (np.pi * index) ** 2, "equal_tenths": np.full(10, ALPHA / 10)}
    return {"noria": float(found.mean() / NUM_RELEASES), **{name: float((p <= rows).mean()) for name, rows in fixed.items()}}


def main() -> None:
    rng = np.random.default_rng(20260101)
    figures: dict[str, float] = {"alpha": ALPHA, "num_candidates": NUM_CANDIDATES, "num_releases": NUM_RELEASES, "num_items": NUM_ITEMS}
    for loss_rate in LOSS_RATES:
        name = f"loss_{loss_rate:.2f}"
        figures[f"fooled_{name}"] = fooled(rng, loss_rate, None)
        figures[f"fooled_every_third_better_{name}"] = fooled(rng, loss_rate, 3)
        for label, level in (("first", spending.share(0, ALPHA)), ("second", spending.share(1, ALPHA))):
            figures[f"power_paired_{label}_{name}"], figures[f"power_unpaired_{label}_{name}"] = power(rng, loss_rate, level)
        for schedule, value in power_of_schedules(rng, loss_rate).items():
            figures[f"power_ten_releases_{schedule}_{name}"] = value
    worst = max(value for name, value in figures.items() if name.startswith("fooled"))
    figures["fooled_worst"] = worst
    for name, value in figures.items():
        print(f"{name:52} {value:.4f}" if value < 1 else f"{name:52} {value:.0f}")
    write_results("gate", figures)
    if worst > ALPHA:
        sys.exit(f"Projects were fooled {worst:.3f} of the time, more than alpha {ALPHA}.")


if __name__ == "__main__":
    main()
