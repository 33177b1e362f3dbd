"""Intervals of metrics: Wilson's for shares of rows, BCa for means, percentiles of rows drawn anew for what is made of sums.

In: what the metrics are made of, and which rows belong together. Out: low and high at 95 %. Where rows share a conversation or a context, whole
groups are drawn.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from noria.evaluate.counted import Counted, Floats, cells_of, drawn, middle
from noria.evaluate.paired import group_shares, is_grouped, paired_bootstrap, wilson_interval


def intervals(made: Iterable[Counted], groups: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The interval of every metric; `groups` names the group of each row."""
    found: dict[str, tuple[float, float]] = {}
    for one in made:
        found |= _intervals(one, groups)
    return found


def _intervals(made: Counted, groups: Sequence[str]) -> dict[str, tuple[float, float]]:
    grouped = is_grouped(groups)
    if made.kind == "score":
        return dict.fromkeys(made.metrics, _of_mean(group_shares(made.rows[:, 0], groups)))
    if made.kind == "pass" and not grouped:
        right, asked = made.sums
        return dict.fromkeys(made.metrics, wilson_interval(round(right), round(asked)))
    sums = made.by_group(groups) if grouped else made.rows
    right, asked = made.sums[:2]
    if made.kind == "pass" and right in (0, asked):  # no draw would differ: as many trials as there are groups
        num_asked = int((sums[:, 1] > 0).sum())
        return dict.fromkeys(made.metrics, wilson_interval(num_asked if right else 0, num_asked))
    cells, _, sizes = cells_of(sums)
    draws = drawn(cells, sizes, lambda sums: np.stack([metric(sums) for metric in made.metrics.values()], axis=-1))  # (draws, metrics)
    return {name: middle(draws[:, column]) for column, name in enumerate(made.metrics)}


def _of_mean(values: Floats) -> tuple[float, float]:
    return paired_bootstrap(np.zeros(values.size), values).interval if values.size > 1 else (float(values[0]), float(values[0]))
