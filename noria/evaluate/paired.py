"""Paired comparison of two releases on the same items: tests, intervals, non-inferiority, planning.

In: for pass/fail items the counts of a `PairedCounts` table, for scores two aligned arrays. Out: p-values and intervals; nothing is read
or written. Higher is better throughout; an effect is after minus before. What a gate does with the p-values is in `gate`.

Items of one dialogue are no independent draws: what is right or wrong in one turn tends to be in the next. `group_sums` makes one value of a
group of items, and the tests then count groups. `compare` chooses the test that the kind of a metric asks for.

Sources: exact McNemar test (McNemar 1947, Psychometrika 12); sign-flip test (Fisher 1935, The Design of Experiments, section 21);
score interval and statistic for paired proportions (Tango 1998, Statistics in Medicine 17); its exact unconditional non-inferiority test
(Hsueh, Liu and Chen 2001, Biometrics 57); BCa bootstrap (Efron 1987, JASA 82);
approximate randomization for a ratio of sums (Noreen 1989; Yeh 2000, COLING);
Holm (1979, Scandinavian Journal of Statistics 6); e-value of a betting mixture (Ville 1939; Waudby-Smith and Ramdas 2024, JRSS B 86).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from noria.evaluate.counted import NUM_DRAWS, Counted, Floats, Statistic, cells_of, drawn, middle, swapped

MAX_EXACT_ITEMS = 600
"""Above this many items the score test's normal approximation is used for non-inferiority; its error is then below 0.001."""


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """How often both, one or none of the two releases passed; `gains` passed only after, `losses` only before."""

    both: int
    gains: int
    losses: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.gains + self.losses + self.neither

    @property
    def before(self) -> float:
        return (self.both + self.losses) / self.n

    @property
    def after(self) -> float:
        return (self.both + self.gains) / self.n

    @property
    def effect(self) -> float:
        return (self.gains - self.losses) / self.n


@dataclass(frozen=True, kw_only=True)
class BootstrapResult:
    """A mean paired difference, its two-sided BCa interval, the one-sided p-value of "the mean is at most `threshold`" and the two-sided one."""

    effect: float
    interval: tuple[float, float]
    p: float
    p_two_sided: float
    threshold: float
    num_resamples: int


def paired_counts(before: Sequence[bool], after: Sequence[bool]) -> PairedCounts:
    """Count the four cells; the two sequences are aligned item by item."""
    if len(before) != len(after) or not before:
        raise ValueError("both releases need the same items, at least one")
    x, y = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    return PairedCounts(both=int((x & y).sum()), gains=int((~x & y).sum()), losses=int((x & ~y).sum()), neither=int((~x & ~y).sum()))


def mcnemar_better(gains: ArrayLike, losses: ArrayLike) -> Floats:
    """One-sided exact McNemar p-value of "after is no better": P(Binomial(gains + losses, 1/2) >= gains). Vectorised."""
    wins, lost = np.asarray(gains), np.asarray(losses)
    return np.where(wins > 0, special.betainc(np.maximum(wins, 1), lost + 1, 0.5), 1.0)


def mcnemar_two_sided(gains: int, losses: int) -> float:
    """Two-sided exact McNemar p-value; 1 when no item tells the releases apart."""
    return float(min(1.0, 2 * float(mcnemar_better(max(gains, losses), min(gains, losses)))))


def group_sums(values: ArrayLike, groups: Sequence[str]) -> Floats:
    """One sum a group of items that belong together, in order of first appearance; `groups` names the group of each value."""
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    sums = np.bincount([places[group] for group in groups], weights=np.asarray(values, dtype=np.float64), minlength=len(places))
    return sums.astype(np.float64)


def is_grouped(groups: Sequence[str]) -> bool:
    """Whether some items share a group, so that items are no independent draws."""
    return len(set(groups)) < len(groups)


def group_shares(values: ArrayLike, groups: Sequence[str]) -> Floats:
    """One value a group, scaled so that the mean over the groups is the mean over the items."""
    sums = group_sums(values, groups)
    return sums * (sums.size / len(groups))


def sign_flip_better(differences: ArrayLike) -> float:
    """One-sided exact p-value of "after is no better" from whole differences of independent groups (gains minus losses within each).

    Each difference is as likely to have come out with the other sign; the p-value is the share of all signs whose sum is at least the observed
    one, by convolution. With one item a group it is `mcnemar_better`.
    """
    steps = np.abs(np.rint(np.asarray(differences, dtype=np.float64)).astype(int))
    observed = int(np.rint(np.sum(differences)))
    weights = np.ones(1)  # of the sums -reach..reach
    for step in steps[steps > 0]:
        wider = np.zeros(weights.size + 2 * step)
        wider[: weights.size] += weights / 2
        wider[2 * step :] += weights / 2
        weights = wider
    return float(min(1.0, weights[weights.size // 2 + observed :].sum()))


def fewest_groups(alpha: float) -> int:
    """Groups that a sign-flip test needs to reach the level at all: all signs the same have a chance of 2 to the minus groups."""
    return max(2, int(np.ceil(-np.log2(alpha))))


def mcnemar_e_value(gains: ArrayLike, losses: ArrayLike) -> Floats:
    """E-value of "after is no better" that may be looked at after every item: at most 1/alpha ever with probability 1 - alpha.

    The wealth of a gambler who bets on gains among the items that tell the releases apart, with the share staked mixed uniformly over
    0..1; in closed form an incomplete beta function. Far less sharp than `mcnemar_better` at a fixed number of items.
    """
    wins, lost = np.asarray(gains, dtype=float), np.asarray(losses, dtype=float)
    log_wealth = (wins + lost + 1) * np.log(2) + special.betaln(wins + 1, lost + 1)
    return np.asarray(np.exp(log_wealth) * special.betaincc(wins + 1, lost + 1, 0.5), dtype=np.float64)


def score_statistic(gains: ArrayLike, losses: ArrayLike, n: int, difference: float) -> Floats:
    """Tango's z of "P(gain) - P(loss) = difference": large when the data lie above it."""
    wins, lost = np.asarray(gains, dtype=float), np.asarray(losses, dtype=float)
    b = -wins - lost + (2 * n - wins + lost) * difference
    c = -lost * difference * (1 - difference)
    p_loss = (np.sqrt(np.maximum(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * p_loss + difference * (1 - difference))
    gap = wins - lost - n * difference
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gap / np.sqrt(np.maximum(variance, 0.0))
    return np.asarray(np.where(variance > 1e-12, z, np.sign(gap) * np.where(np.abs(gap) > 1e-9, np.inf, 0.0)), dtype=np.float64)


def score_interval(gains: int, losses: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Tango's two-sided interval of the paired difference; sound also when no item or every item tells the releases apart."""
    z = float(special.ndtri((1 + level) / 2))

    def bound(sign: float) -> float:
        near, far = (gains - losses) / n, sign
        for _ in range(60):
            middle = (near + far) / 2
            inside = -sign * float(score_statistic(gains, losses, n, middle)) <= z
            near, far = (middle, far) if inside else (near, middle)
        return near

    return bound(-1.0), bound(1.0)


def wilson_interval(passed: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of a share (Wilson 1927, JASA 22)."""
    z = float(special.ndtri((1 + level) / 2))
    share, room = passed / n, z * z / n
    centre = (share + room / 2) / (1 + room)
    half = z / (1 + room) * float(np.sqrt(share * (1 - share) / n + room / (4 * n)))
    return max(0.0, centre - half), min(1.0, centre + half)


@lru_cache(maxsize=256)
def noninferior_binary(gains: int, losses: int, n: int, margin: float) -> float:
    """P-value of "after loses `margin` or more": small means not worse than the margin.

    Up to `MAX_EXACT_ITEMS` items the largest tail probability of the score statistic over every loss rate that is possible (exact,
    unconditional); above that the normal tail.
    """
    observed = float(score_statistic(gains, losses, n, -margin))
    if n > MAX_EXACT_ITEMS:
        return float(special.ndtr(-observed))
    wins, lost = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = wins + lost <= n
    wins, lost = wins[possible], lost[possible]
    extreme = score_statistic(wins, lost, n, -margin) >= observed - 1e-9
    wins, lost = wins[extreme], lost[extreme]
    same = n - wins - lost
    log_ways = special.gammaln(n + 1) - special.gammaln(wins + 1) - special.gammaln(lost + 1) - special.gammaln(same + 1)
    worst = 0.0
    for p_loss in _nuisance_grid(margin):
        p_gain = p_loss - margin
        log_p = log_ways + special.xlogy(wins, p_gain) + special.xlogy(lost, p_loss) + special.xlogy(same, max(1 - p_gain - p_loss, 0.0))
        worst = max(worst, float(np.exp(log_p).sum()))
    return min(1.0, worst)


def _nuisance_grid(margin: float) -> Floats:
    """Loss rates at which the difference is exactly `-margin`: denser where losses are rare, where the tail changes fastest."""
    low, high = margin, (1 + margin) / 2
    return np.asarray(low + (high - low) * np.linspace(0, 1, 48) ** 2, dtype=np.float64)


def smallest_suite(margin: float, alpha: float) -> int:
    """Items a pass/fail suite needs so that two releases that answer alike can be shown to be within `margin`."""
    n = max(1, int(np.log(alpha) / np.log1p(-margin)) - 2)
    while noninferior_binary(0, 0, n, margin) > alpha:
        n += 1
    return n


def paired_bootstrap(
    before: ArrayLike, after: ArrayLike, *, threshold: float = 0.0, level: float = 0.95, num_resamples: int = 20_000, seed: int = 0
) -> BootstrapResult:
    """BCa bootstrap of the mean paired difference; `p` is the level at which the lower bound would touch `threshold`.

    `threshold=-margin` makes it a non-inferiority test. Same input and seed, same result.
    """
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    n = differences.size
    if n < 2:
        raise ValueError("a bootstrap needs two items or more")
    effect = float(differences.mean())
    if np.ptp(differences) < 1e-12:
        p = 0.0 if effect > threshold else 1.0
        # All differences alike: the signs of `n` of them agree by chance once in 2 to the n - 1.
        two_sided = 1.0 if abs(effect - threshold) < 1e-12 else max(2.0 ** (1 - n), 2 / (num_resamples + 1))
        return BootstrapResult(effect=effect, interval=(effect, effect), p=p, p_two_sided=two_sided, threshold=threshold, num_resamples=num_resamples)
    means = np.sort(_resampled_means(differences, num_resamples, seed))
    bias = float(special.ndtri(_inner_share(means, effect)))
    skew = _acceleration(differences)

    def quantile(probability: float) -> float:
        w = bias + float(special.ndtri(probability))
        return float(np.quantile(means, special.ndtr(bias + w / (1 - skew * w))))

    w = float(special.ndtri(_inner_share(means, threshold))) - bias
    p = float(special.ndtr(w / (1 + skew * w) - bias))
    tail = (1 - level) / 2
    interval, least = (quantile(tail), quantile(1 - tail)), 1 / (num_resamples + 1)
    two_sided = _of_few(min(1.0, 2 * max(min(p, 1 - p), least)), n)
    return BootstrapResult(effect=effect, interval=interval, p=max(p, least), p_two_sided=two_sided, threshold=threshold, num_resamples=num_resamples)


def _of_few(p: float, n: int) -> float:
    """A two-sided bootstrap p-value of `n` items as Student's t would have it: a bootstrap is too sure of few (Hesterberg 2015, Am. Stat. 69)."""
    return float(min(1.0, 2 * special.stdtr(n - 1, special.ndtri(p / 2) * np.sqrt((n - 1) / n))))


@dataclass(frozen=True, kw_only=True)
class RatioResult:
    """How far two systems' ratios of sums lie apart, the percentile interval, and the two-sided p-value of "it is by chance whose row is whose"."""

    effect: float
    interval: tuple[float, float]
    p: float


def ratio_bootstrap(before: Floats, after: Floats, statistic: Statistic, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> RatioResult:
    """Compare a metric that is made of sums over rows, such as F1: the interval from rows drawn anew, the p-value from rows that change sides.

    Args:
        before: counts of each row: (rows, columns); `after` likewise, aligned.
    """
    columns = before.shape[1]
    cells, _, sizes = cells_of(np.concatenate([before, after], axis=1))

    def gap(sums: Floats) -> Floats:
        return statistic(sums[..., columns:]) - statistic(sums[..., :columns])

    effect = float(gap(sizes @ cells))
    as_far = np.abs(swapped(cells, sizes, gap, num_draws, seed)) >= abs(effect) - 1e-12
    p = float((1 + as_far.sum()) / (1 + as_far.size))
    return RatioResult(effect=effect, interval=middle(drawn(cells, sizes, gap, num_draws, seed)), p=p)


def compare(before: Counted, after: Counted, groups: Sequence[str], metric: str) -> dict[str, Any]:
    """Effect, 95 % interval, test and two-sided p of a metric of two systems on the same rows; the effect is the difference of the metric.

    The test goes by the kind of the metric, never by the values found: exact McNemar where a row is right or wrong (where rows share a group, sign
    flips of groups), a paired bootstrap where a row has a value of its own, and rows that change sides where only sums have one.
    """
    if after.kind == "pass":
        return _compare_passes(before.rows[:, 0], after.rows[:, 0], groups)
    if after.kind == "score":
        boot = paired_bootstrap(group_shares(before.rows[:, 0], groups), group_shares(after.rows[:, 0], groups))
        return {"effect": boot.effect, "interval": boot.interval, "test": f"paired bootstrap (BCa){_of(groups)}, two-sided", "p": boot.p_two_sided}
    grouped = is_grouped(groups)
    x, y = (one.by_group(groups) if grouped else one.rows for one in (before, after))
    ratio = ratio_bootstrap(x, y, after.metrics[metric])
    return {"effect": ratio.effect, "interval": ratio.interval, "test": f"approximate randomization{_of(groups)}, two-sided", "p": ratio.p}


def _compare_passes(before: Floats, after: Floats, groups: Sequence[str]) -> dict[str, Any]:
    if not is_grouped(groups):
        counts = paired_counts((before > 0.5).tolist(), (after > 0.5).tolist())
        interval, p = score_interval(counts.gains, counts.losses, counts.n), mcnemar_two_sided(counts.gains, counts.losses)
        return {"effect": counts.effect, "interval": interval, "test": "exact McNemar, two-sided", "p": p}
    boot = paired_bootstrap(group_shares(before, groups), group_shares(after, groups))
    gains = group_sums(after - before, groups)
    p = min(1.0, 2 * min(sign_flip_better(gains), sign_flip_better(-gains)))
    return {"effect": boot.effect, "interval": boot.interval, "test": f"exact sign-flip test{_of(groups)}, two-sided", "p": p}


def _of(groups: Sequence[str]) -> str:
    return " of groups" if is_grouped(groups) else ""


def _resampled_means(values: Floats, num_resamples: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    rows = max(1, 4_000_000 // values.size)
    parts = [
        values[rng.integers(0, values.size, size=(min(rows, num_resamples - start), values.size))].mean(axis=1)
        for start in range(0, num_resamples, rows)
    ]
    return np.concatenate(parts)


def _inner_share(sorted_means: Floats, value: float) -> float:
    """Share of resamples below `value` (ties count half), kept off 0 and 1 by half a resample."""
    below, upto = np.searchsorted(sorted_means, [value - 1e-12, value + 1e-12])
    share = (float(below) + float(upto)) / 2 / sorted_means.size
    edge = 0.5 / (sorted_means.size + 1)
    return min(max(share, edge), 1 - edge)


def _acceleration(values: Floats) -> float:
    """BCa's skewness correction for a mean, from the jackknife."""
    centred = values - values.mean()
    return float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing several hypotheses at once, in the order given."""
    m = len(p_values)
    adjusted = [0.0] * m
    highest = 0.0
    for rank, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def unpaired_z_better(passed_before: ArrayLike, passed_after: ArrayLike, n: int) -> Floats:
    """One-sided z-test of two proportions as if the items were different ones. For comparison only: it wastes the pairing."""
    x, y = np.asarray(passed_before, dtype=float), np.asarray(passed_after, dtype=float)
    pooled = (x + y) / (2 * n)
    spread = np.sqrt(np.maximum(pooled * (1 - pooled) * 2 / n, 1e-300))
    return np.asarray(special.ndtr((x - y) / n / spread), dtype=np.float64)


def minimum_detectable_effect(n: int, alpha: float, *, discordance: float = 0.3, power: float = 0.8) -> float:
    """Smallest true gain a one-sided paired test of `n` items finds with `power`, when a share `discordance` of items differ.

    Normal approximation (Connor 1987, Biometrics 43); 1.0 when no gain that is possible could be found.
    """
    z_alpha, z_power = -float(special.ndtri(alpha)), float(special.ndtri(power))
    low, high = 0.0, 1.0
    for _ in range(60):
        gain = (low + high) / 2
        share = max(discordance, gain)
        enough = z_alpha * np.sqrt(share) + z_power * np.sqrt(max(share - gain * gain, 0.0)) <= gain * np.sqrt(n)
        low, high = (low, gain) if enough else (gain, high)
    return high
