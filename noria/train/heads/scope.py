"""Texts that have none of the labels: a threshold on the best label's probability, chosen on held-out rows.

With rows marked `out_of_scope` it is where recall of them plus recall of the others is largest (Youden 1950); without any it is where nineteen in
twenty of the held-out rows keep their label.
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
