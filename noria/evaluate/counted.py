"""What a metric is made of, row by row: counts whose sums over the rows give the metric.

In: counts of each row (right and asked for an accuracy; hits, said and right for an F1). Out: the metric of all rows, and the sums of rows drawn
anew, without a look at the rows again: rows with equal counts are one cell, and a draw of rows is a multinomial draw of cells. Intervals are made
of them in `intervals`, comparisons in `paired`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats: TypeAlias = NDArray[np.float64]
Kind = Literal["pass", "score", "ratio"]
"""pass: a row is right or wrong; score: the mean of the rows' own values; ratio: a function of sums, such as F1, that no row has by itself."""
Statistic: TypeAlias = Callable[[Floats], Floats]
"""A metric from sums of counts: (..., columns) to (...)."""

NUM_DRAWS, FEWEST_DRAWS = 10_000, 1_000
MOST_DRAWN = 200_000_000
"""Rows drawn at most in all; above that, from 20,000 different rows on, there are fewer draws."""
ROWS_A_CELL = 8
"""A cell's number costs as much to draw as so many rows one by one."""
AT_ONCE = 2_000_000
NARROW = 32
"""Columns up to which counts are multiplied as they are; with more, as with many labels, nearly all are 0."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Metrics that are made of the same counts."""

    kind: Kind
    metrics: Mapping[str, Statistic]
    cells: Floats
    """The different counts: (cells, columns)."""
    cell_of: NDArray[np.intp]
    """The cell of each row: (rows,)."""

    @classmethod
    def of(cls, kind: Kind, counts: ArrayLike, metrics: Mapping[str, Statistic]) -> "Counted":
        """From the counts of each row: (rows, columns)."""
        cells, cell_of, _ = cells_of(np.asarray(counts, dtype=np.float64))
        return cls(kind=kind, metrics=metrics, cells=cells, cell_of=cell_of)

    @classmethod
    def passed(cls, name: str, right: Sequence[bool], among: Sequence[bool] | None = None) -> "Counted":
        """A share of rows that are right, among all or some of them."""
        asked = np.ones(len(right)) if among is None else np.asarray(among, dtype=np.float64)
        return cls.of("pass", np.column_stack([np.asarray(right, dtype=np.float64) * asked, asked]), {name: share})

    @classmethod
    def mean(cls, name: str, values: ArrayLike) -> "Counted":
        """A mean of the rows' own values."""
        column = np.asarray(values, dtype=np.float64)
        return cls.of("score", np.column_stack([column, np.ones(column.size)]), {name: share})

    @property
    def rows(self) -> Floats:
        """The counts of each row: (rows, columns)."""
        return self.cells[self.cell_of]

    @property
    def sums(self) -> Floats:
        return np.bincount(self.cell_of, minlength=len(self.cells)) @ self.cells

    def value(self, name: str) -> float:
        """A metric of all rows."""
        return float(self.metrics[name](self.sums))

    def by_group(self, groups: Sequence[str]) -> Floats:
        """The sums of each group of rows, in order of first appearance: (groups, columns)."""
        places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        sums = np.zeros((len(places), self.cells.shape[1]))
        np.add.at(sums, [places[group] for group in groups], self.rows)
        return sums


def share(sums: Floats) -> Floats:
    """First column over the second; not a number where nothing was asked."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)


def f1(sums: Floats) -> Floats:
    """F1 of (hits, said, right); 0 where nothing was said and nothing is right, as scikit-learn and seqeval have it."""
    return 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)


def precision(sums: Floats) -> Floats:
    """Hits over said, of (hits, said, right)."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def recall(sums: Floats) -> Floats:
    """Hits over right, of (hits, said, right)."""
    return sums[..., 0] / np.maximum(sums[..., 2], 1)


def macro_f1(whole: Floats) -> Statistic:
    """The mean F1 of labels, of (hits of each, said of each, right of each); `whole` are the sums over all rows.

    A label that a draw has no row of keeps the F1 it has in the whole file: the mean is over the same labels in every draw.
    """
    num = whole.shape[-1] // 3
    kept = f1(whole.reshape(3, num).T)

    def statistic(sums: Floats) -> Floats:
        by_label = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, num), -2, -1)
        return np.where(by_label[..., 1:].sum(-1) > 0, f1(by_label), kept).mean(-1)

    return statistic


def matthews(sums: Floats) -> Floats:
    """Matthews' correlation of several labels (Gorodkin 2004), of (hits of each, said of each, right of each); 0 where it has no value."""
    hits, said, right = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, sums.shape[-1] // 3), -2, 0)
    n = right.sum(-1)
    spread = (n**2 - (said**2).sum(-1)) * (n**2 - (right**2).sum(-1))
    return np.where(spread > 0, (hits.sum(-1) * n - (said * right).sum(-1)) / np.sqrt(np.maximum(spread, 1e-300)), 0.0)


def correlation(sums: Floats) -> Floats:
    """Pearson's correlation of (x, y, x x, y y, x y, rows); 0 where one of them is constant."""
    x, y, xx, yy, xy, n = np.moveaxis(sums, -1, 0)
    spread = np.maximum(xx - x * x / n, 0) * np.maximum(yy - y * y / n, 0)
    return np.where(spread > 1e-24, (xy - x * y / n) / np.sqrt(np.maximum(spread, 1e-24)), 0.0)


def cells_of(rows: Floats) -> tuple[Floats, NDArray[np.intp], NDArray[np.int64]]:
    """The different rows of a table, which one each row is, and how often each stands there."""
    cells, cell_of, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return cells, cell_of.reshape(-1), sizes.astype(np.int64)


def drawn(cells: Floats, sizes: NDArray[np.int64], statistic: Statistic, num: int = NUM_DRAWS, seed: int = 0) -> Floats:
    """A metric of rows drawn anew with replacement, once a draw (Efron and Tibshirani 1993).

    Args:
        sizes: how many rows each cell has.
    """
    rng, n = np.random.default_rng(seed), int(sizes.sum())
    table: Any = cells if cells.shape[1] <= NARROW else sparse.csr_array(cells)
    if n > ROWS_A_CELL * len(cells):
        return np.concatenate([statistic(rng.multinomial(n, sizes / n, size=part) @ table) for part in _parts(cells, sizes, num)])
    cell_of = np.repeat(np.arange(len(cells)), sizes)
    return np.concatenate([statistic(_picked(rng, cell_of, len(cells), part) @ table) for part in _parts(cells, sizes, num)])


def _picked(rng: np.random.Generator, cell_of: NDArray[np.intp], num_cells: int, num: int) -> NDArray[np.intp]:
    """How often each cell is drawn where rows are drawn one by one: (draws, cells)."""
    picks = cell_of[rng.integers(0, cell_of.size, size=(num, cell_of.size))] + num_cells * np.arange(num)[:, None]
    return np.bincount(picks.reshape(-1), minlength=num * num_cells).reshape(num, num_cells)


def swapped(cells: Floats, sizes: NDArray[np.int64], statistic: Statistic, num: int = NUM_DRAWS, seed: int = 0) -> Floats:
    """A metric of two systems' counts side by side, where each row has changed sides with probability 1/2, once a draw (Noreen 1989)."""
    rng, half = np.random.default_rng(seed), cells.shape[1] // 2
    moved, whole = np.roll(cells, half, axis=1) - cells, sizes @ cells
    return np.concatenate([statistic(whole + rng.binomial(sizes, 0.5, size=(part, len(sizes))) @ moved) for part in _parts(cells, sizes, num)])


def _parts(cells: Floats, sizes: NDArray[np.int64], num: int) -> list[int]:
    """How many draws are made at once, so that memory and time stay bounded."""
    work = min(int(sizes.sum()), ROWS_A_CELL * len(cells))
    num, at_once = min(num, max(FEWEST_DRAWS, MOST_DRAWN // work)), max(1, AT_ONCE // max(*cells.shape, work))
    return [min(at_once, num - start) for start in range(0, num, at_once)]


def middle(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of draws; those in which the metric has no value do not count."""
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
