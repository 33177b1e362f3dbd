"""When a head says that nothing fits, chosen on held-out rows: texts that have none of the labels, questions whose answer is not there.

Labels have a threshold on the best one's probability. With rows marked `out_of_scope` it is where recall of them plus recall of the others is
largest (Youden 1950); without any it is where nineteen in twenty of the held-out rows keep their label. Answers have one on the margin of the best
span over "not here": where the mean of the rows' own scores is largest (Rajpurkar et al. 2018).
"""

from collections.abc import Sequence

import numpy as np

KEPT = 0.95


def threshold_of(scores: Sequence[float], outside: Sequence[bool]) -> float:
    """The probability below which a text is out of scope.

    Args:
        scores: of the best label of each held-out row. outside: whether the row has none of the labels.
    """
    values, out = np.asarray(scores), np.asarray(outside)
    if not out.any():
        return float(np.quantile(values, 1 - KEPT))
    if out.all():
        return 0.0
    cuts = np.unique(values)
    borders = np.concatenate([[0.0], (cuts[1:] + cuts[:-1]) / 2])
    gained = [(values[out] < border).mean() + (values[~out] >= border).mean() for border in borders]
    return float(borders[int(np.argmax(gained))])


def cut_of_margins(margins: Sequence[float], answered: Sequence[float], refused: Sequence[float]) -> float:
    """The margin below which no answer is given; of cuts that are as good the one nearest to 0.

    Args:
        margins: of each held-out row. answered and refused: what the row scores with its best span, and with no answer.
    """
    order = np.argsort(margins, kind="stable")
    values = np.asarray(margins, dtype=float)[order]
    below = np.concatenate([[0.0], np.cumsum(np.asarray(refused)[order])])
    above = np.concatenate([np.cumsum(np.asarray(answered)[order][::-1])[::-1], [0.0]])
    cuts = np.concatenate([[values[0] - 1], (values[1:] + values[:-1]) / 2, [values[-1] + 1]])
    apart = np.concatenate([[True], values[1:] > values[:-1], [True]])
    gained = np.where(apart & np.isfinite(cuts), below + above, -np.inf)
    best = np.flatnonzero(np.isclose(gained, gained.max()))
    return float(cuts[min(best, key=lambda index: abs(cuts[index]))])
