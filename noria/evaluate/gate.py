"""The gate: may a candidate take the place of the live release?

In: what both releases scored on the same items, the level this evaluation may spend (from `spending`, written down beforehand), and the
margins. Out: a `GateReport`. Nothing is run or stored here.

A candidate is promoted only if all of this holds:
- complete: every suite was run for both releases on the same items;
- better: on the objective, a one-sided exact McNemar test (pass/fail) or paired BCa bootstrap (scores) at this evaluation's level; where several
  items come from one conversation, conversations are compared: an exact sign-flip test, which is McNemar's with one item each;
- not worse: on each protected suite, non-inferiority at `protected_alpha` within its margin. All must hold, so the chance of letting a
  harmful candidate pass is at most `protected_alpha` with no correction for their number (intersection-union test, Berger 1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from noria.config import Section
from noria.evaluate import paired, spending
from noria.schema import GateReport, SuiteResult
from noria.schema.messages import Record

MIN_SCORE_ITEMS = 20
"""Fewer scores than this and a bootstrap's error is not what it says."""
BOOTSTRAP = "paired bootstrap (BCa)"
SIGN_FLIP = "exact sign-flip test of conversations, one-sided"
TOO_FEW = "Too few items in"


class GateConfig(Section):
    """`[gate]`: what a candidate must show."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of ever promoting a candidate that is no better, over all releases of the project."""
    horizon: int | None = Field(default=None, ge=1)
    """Evaluations without a promotion that the error budget is spread over evenly; without it, over any number, ever thinner."""
    protected_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of letting pass a candidate that loses a margin on a protected suite."""
    margin: float = Field(default=0.1, gt=0, lt=1)
    """Loss allowed on a protected suite that `margins` does not name (0.1 is ten points)."""
    margins: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    """Loss allowed by suite name."""
    max_slowdown: float = Field(default=0.4, gt=0, lt=1)
    """Share of its tokens a second (one chat alone on this machine) that a candidate may lose."""
    max_memory_growth: float = Field(default=1.0, gt=0)
    """Share by which the memory of the serving engine may grow (1 is to twice as much)."""
    objective: Literal["environment", "heldout"] | None = None
    """What a candidate must be better at: the project's environment, or the held-out decisions of its feedback; unset takes the environment if
    the project has one."""
    num_goals: int = Field(default=200, ge=10)
    """Fresh goals of the project's environment on which both releases are compared."""


class Attempt(Record):
    """One evaluation as it was written down before its result was known."""

    candidate_id: str
    live_id: str
    level: float
    """Significance level of the objective in this evaluation: the share of the error budget it stakes."""
    failures: int
    """Evaluations of earlier candidates that did not promote."""
    already_spent: float = 0.0
    """What earlier reports on this candidate (refusals) have spent of the share."""
    required: tuple[str, ...] = ()
    """Names of the suites that must be there."""


@dataclass(frozen=True)
class _Finding:
    """What a test said of one suite."""

    test: str
    effect: float
    interval: tuple[float, float]
    p: float


class PairedSuite(Record):
    """One suite measured for both releases: item id to value, higher is better.

    `kind` pass: values are 0 or 1; score: any unit, compared on the mean; fact: one value each, compared as it is, without a test.
    """

    suite: str
    role: Literal["objective", "protected"]
    kind: Literal["pass", "score", "fact"]
    before: dict[str, float]
    after: dict[str, float]
    expected_ids: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """The conversation of each expected item, where items come from conversations; without it each item stands for itself."""
    margin: float | None = None

    @property
    def grouped(self) -> bool:
        return paired.is_grouped(self.groups)

    @property
    def unit(self) -> str:
        return "conversations" if self.grouped else "items"

    def missing(self) -> str | None:
        """Why the pair cannot be compared, or None."""
        if not self.expected_ids:
            return f"Suite `{self.suite}` has no items."
        for name, values in (("live release", self.before), ("candidate", self.after)):
            lost = sorted(set(self.expected_ids) - set(values))
            extra = sorted(set(values) - set(self.expected_ids))
            if lost or extra:
                item = (lost or extra)[0]
                return f"Suite `{self.suite}`: the {name} has {len(values)} results for {len(self.expected_ids)} items (see item {item!r})."
        if any(value != value for value in (*self.before.values(), *self.after.values())):
            return f"Suite `{self.suite}` has a result that is not a number."
        return None

    def columns(self) -> tuple[list[float], list[float]]:
        """Aligned values of independent units: of items, or of conversations scaled so that their mean is the mean of the items."""
        if not self.grouped:
            ids = sorted(self.expected_ids)
            return [self.before[i] for i in ids], [self.after[i] for i in ids]
        before, after = (paired.group_shares([values[i] for i in self.expected_ids], self.groups) for values in (self.before, self.after))
        return before.tolist(), after.tolist()

    def gains_by_group(self) -> list[float]:
        """Items gained minus items lost, a conversation."""
        return paired.group_sums([self.after[i] - self.before[i] for i in self.expected_ids], self.groups).tolist()


def decide(attempt: Attempt, suites: Sequence[PairedSuite], config: GateConfig, now: datetime) -> GateReport:
    """Judge one candidate on one objective and any number of protected suites."""
    problems = _incomplete(attempt, suites)
    results: list[SuiteResult] = []
    if not problems:
        results = [_judge(suite, attempt.level, config) for suite in suites]
        problems = [r.reason for r in results if r.reason.startswith(TOO_FEW)]
    decision: Literal["promote", "reject", "refuse"]
    if problems:
        decision, reasons = "refuse", problems
    elif all(r.passed for r in results):
        decision, reasons = "promote", [r.reason for r in results if r.role == "objective"]
    else:
        decision, reasons = "reject", [r.reason for r in results if not r.passed]
    promoted = decision == "promote"
    return GateReport(
        candidate_id=attempt.candidate_id,
        live_id=attempt.live_id,
        decision=decision,
        reasons=tuple(reasons),
        suites=tuple(results),
        alpha_spent=0.0 if promoted else max(0.0, attempt.level - attempt.already_spent),
        alpha_left=spending.budget_left(attempt.failures + (not promoted), config.alpha, config.horizon),
        created_at=now,
    )


def _incomplete(attempt: Attempt, suites: Sequence[PairedSuite]) -> list[str]:
    problems = [problem for suite in suites if (problem := suite.missing())]
    present = {suite.suite for suite in suites}
    problems += [f"Suite `{name}` was not run." for name in attempt.required if name not in present]
    if sum(suite.role == "objective" for suite in suites) != 1:
        problems.append("The objective was not measured.")
    if attempt.level <= 0:
        problems.append("The error budget of `[gate] horizon` is used up; raise `horizon` or `alpha` in noria.toml.")
    return problems


def _judge(suite: PairedSuite, level: float, config: GateConfig) -> SuiteResult:
    if suite.role == "objective":
        return _judge_objective(suite, level)
    margin = suite.margin if suite.margin is not None else config.margins.get(suite.suite, config.margin)
    if suite.kind == "fact":
        return _judge_fact(suite, margin)
    return _judge_protected(suite, margin, config.protected_alpha)


def _judge_objective(suite: PairedSuite, level: float) -> SuiteResult:
    before, after = suite.columns()
    if suite.kind == "pass" and not suite.grouped:
        counts = paired.paired_counts([v > 0.5 for v in before], [v > 0.5 for v in after])
        interval = paired.score_interval(counts.gains, counts.losses, counts.n)
        found = _Finding("exact McNemar, one-sided", counts.effect, interval, float(paired.mcnemar_better(counts.gains, counts.losses)))
    elif len(before) < (least := paired.fewest_groups(level) if suite.kind == "pass" else MIN_SCORE_ITEMS):
        return _too_few(suite, SIGN_FLIP if suite.kind == "pass" else f"{BOOTSTRAP}, one-sided", level, None, least)
    else:
        boot = paired.paired_bootstrap(before, after, num_resamples=_num_resamples(level))
        found = _Finding(f"{BOOTSTRAP}, one-sided", boot.effect, boot.interval, boot.p)
        if suite.kind == "pass":
            found = replace(found, test=SIGN_FLIP, p=paired.sign_flip_better(suite.gains_by_group()))
    passed = found.effect > 0 and found.p <= level
    if passed:
        reason = f"Better on `{suite.suite}`: {_shown(found)}, p {found.p:.2g} <= {level:.2g}, {_size(suite)}."
    else:
        reason = f"Not shown to be better on `{suite.suite}`: {_shown(found)}, p {found.p:.2g} > {level:.2g}.{_hint(suite, level)}"
    return _result(suite, found, level, None, passed, reason)


def _size(suite: PairedSuite) -> str:
    n = len(suite.expected_ids)
    return f"n {n} in {len(set(suite.groups))} conversations" if suite.grouped else f"n {n}"


def _shown(found: _Finding) -> str:
    return f"{found.effect:+.3f} [{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]"


def _hint(suite: PairedSuite, level: float) -> str:
    """What the objective could have shown at all, so that a rejection is not read as "no better"."""
    if suite.kind != "pass" or suite.grouped:
        return ""
    before, after = suite.columns()
    share = sum(x != y for x, y in zip(before, after, strict=True)) / len(before)
    least = paired.minimum_detectable_effect(len(before), level, discordance=max(share, 0.05))
    return f" With {len(before)} items a true gain below about {least:.2f} is usually missed."


def _judge_protected(suite: PairedSuite, margin: float, alpha: float) -> SuiteResult:
    before, after = suite.columns()
    if suite.kind == "pass" and not suite.grouped:
        counts = paired.paired_counts([v > 0.5 for v in before], [v > 0.5 for v in after])
        interval = paired.score_interval(counts.gains, counts.losses, counts.n)
        p = paired.noninferior_binary(counts.gains, counts.losses, counts.n, margin)
        found, least = _Finding("exact score test of non-inferiority", counts.effect, interval, p), paired.smallest_suite(margin, alpha)
    elif len(before) < MIN_SCORE_ITEMS:
        return _too_few(suite, f"{BOOTSTRAP} of non-inferiority", alpha, margin, MIN_SCORE_ITEMS)
    else:
        boot = paired.paired_bootstrap(before, after, threshold=-margin)
        found, least = _Finding(f"{BOOTSTRAP} of non-inferiority", boot.effect, boot.interval, boot.p), MIN_SCORE_ITEMS
    passed = found.p <= alpha
    if not passed and len(before) < least:
        return _too_few(suite, found.test, alpha, margin, least)
    word = "Not worse" if passed else "May be worse"
    reason = f"{word} on `{suite.suite}`: {_shown(found)}, margin {margin:g}, p {found.p:.2g}, {_size(suite)}."
    return _result(suite, found, alpha, margin, passed, reason)


def _judge_fact(suite: PairedSuite, margin: float) -> SuiteResult:
    effect = _mean(suite.after) - _mean(suite.before)
    passed = effect >= -margin
    reason = f"{'Not worse' if passed else 'Worse'} on `{suite.suite}`: {effect:+.3f}, margin {margin:g}."
    found = _Finding("compared as measured", effect, (effect, effect), 0.0 if passed else 1.0)
    return _result(suite, found, 1.0, margin, passed, reason)


def _too_few(suite: PairedSuite, test: str, alpha: float, margin: float | None, least: int) -> SuiteResult:
    reason = f"{TOO_FEW} `{suite.suite}`: {len(suite.columns()[0])} {suite.unit}, at least {least} are needed"
    if margin is not None:
        reason += f" to show a loss below the margin {margin:g}; add items or widen the margin in `[gate] margins`"
    found = _Finding(test, _mean(suite.after) - _mean(suite.before), (-1.0, 1.0), 1.0)
    return _result(suite, found, alpha, margin, False, reason + ".")


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def _num_resamples(level: float) -> int:
    """Enough that the smallest p-value is a tenth of the level, within 10,000 to 400,000."""
    return min(400_000, max(10_000, int(10 / level)))


def _result(suite: PairedSuite, found: _Finding, alpha: float, margin: float | None, passed: bool, reason: str) -> SuiteResult:
    return SuiteResult(
        suite=suite.suite,
        role=suite.role,
        n=len(suite.expected_ids),
        before=_mean(suite.before),
        after=_mean(suite.after),
        effect=found.effect,
        interval=found.interval,
        test=found.test,
        p=found.p,
        alpha=alpha,
        margin=margin,
        passed=passed,
        reason=reason,
    )
