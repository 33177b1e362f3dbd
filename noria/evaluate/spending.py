"""The error budget of a project: how much chance of a false promotion each gate evaluation may spend.

In: how the earlier evaluations of the project ended. Out: the level of the next one. The promise is about the whole life of a project: with
however many candidates, chosen however one likes after seeing the earlier results, the probability of ever promoting one that is no better
stays at most `alpha`.

Rule. The j-th share of the budget is `alpha / (j (j + 1))`; the shares of all j sum to exactly `alpha`. An evaluation that does not promote
loses its share, and the next one takes share j + 1; one that promotes gets its share back, so the next one takes share j again. After m
evaluations without a promotion `alpha / (m + 1)` of the budget is left, however often there was one.

Why the promise holds. Follow a project up to its first false promotion. Until then every candidate that is no better was refused and lost
its share, so the levels of all evaluations of no-better candidates, that first false promotion included, are distinct shares and sum to at
most `alpha`. Each test is valid given the past (the items of an evaluation are not trained on), so the union bound gives `alpha`. This is
the online fallback procedure with all recycled budget passed to the next test (Tian and Ramdas 2021, "Online control of the familywise error
rate", Statistical Methods in Medical Research 30; Wiens and Dmitrienko 2005, Journal of Biopharmaceutical Statistics 15).

Why these shares. Without recycling, ten releases that are all better would be tested ever harder; with it all are tested at `alpha / 2`.
Against `6 / (pi^2 j^2)` the shares decay alike but are exact fractions that a person can check; figures in `benchmarks/gate.py`. Where a
project knows that it will make at most `horizon` attempts that fail, equal shares `alpha / horizon` are better for the late ones.

An evaluation is written down with its level before its result is known (see `lifecycle.releases`): killed and repeated it is the same
evaluation, and one that was abandoned has lost its share.
"""

from collections.abc import Sequence


def share(failures: int, alpha: float, horizon: int | None = None) -> float:
    """Level of the next evaluation after `failures` that did not promote; 0 when a stated horizon is used up."""
    if horizon is None:
        return alpha / ((failures + 1) * (failures + 2))
    return alpha / horizon if failures < horizon else 0.0


def budget_left(failures: int, alpha: float, horizon: int | None = None) -> float:
    """What is left of `alpha` after `failures` evaluations that did not promote."""
    if horizon is None:
        return alpha / (failures + 1)
    return alpha * max(0, horizon - failures) / horizon


def next_level(promoted: Sequence[bool], alpha: float, horizon: int | None = None) -> float:
    """Level of the next evaluation, from how all earlier ones of the project ended (an abandoned one did not promote)."""
    return share(sum(not p for p in promoted), alpha, horizon)
