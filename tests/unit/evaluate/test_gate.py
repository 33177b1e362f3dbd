"""The gate promotes what is better and complete, and says why it does not."""

from datetime import UTC, datetime

import pytest

from noria.evaluate.gate import Attempt, GateConfig, PairedSuite, decide
from noria.schema import GateReport

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CONFIG = GateConfig()


def suite(name: str, before: list[float], after: list[float], **fields: object) -> PairedSuite:
    ids = tuple(f"i{k}" for k in range(len(before)))
    values = {"role": "protected", "kind": "pass", "expected_ids": ids, **fields}
    return PairedSuite(suite=name, before=dict(zip(ids, before, strict=True)), after=dict(zip(ids, after, strict=False)), **values)  # type: ignore[arg-type]


def objective(gains: int, losses: int, n: int = 200) -> PairedSuite:
    same = n - gains - losses
    return suite("objective", [0.0] * gains + [1.0] * losses + [1.0] * same, [1.0] * gains + [0.0] * losses + [1.0] * same, role="objective")


def judge(*suites: PairedSuite, level: float = 0.025, required: tuple[str, ...] = ()) -> GateReport:
    attempt = Attempt(candidate_id="rel_c", live_id="rel_l", level=level, failures=0, required=required)
    return decide(attempt, suites, CONFIG, NOW)


def test_better_and_not_worse_is_promoted() -> None:
    report = judge(objective(40, 10), suite("safety", [1.0] * 60, [1.0] * 60), required=("safety",))
    assert report.decision == "promote"
    assert report.suites[0].effect == 0.15
    assert report.suites[0].interval[0] > 0
    assert report.suites[0].p < 1e-4
    assert report.reasons == (report.suites[0].reason,)


def test_no_better_is_rejected_with_what_could_have_been_seen() -> None:
    report = judge(objective(12, 10))
    assert report.decision == "reject"
    assert "Not shown to be better" in report.reasons[0]
    assert "usually missed" in report.reasons[0]


def test_the_level_decides() -> None:
    case = objective(18, 6)  # exact one-sided p = 0.0113
    assert judge(case, level=0.025).decision == "promote"
    assert judge(case, level=0.0083).decision == "reject"


def test_a_loss_on_a_protected_suite_is_rejected() -> None:
    report = judge(objective(40, 0), suite("safety", [1.0] * 60, [0.0] * 6 + [1.0] * 54))
    assert report.decision == "reject"
    assert report.reasons[0].startswith("May be worse on `safety`: -0.100")


def test_a_suite_too_small_to_show_it_is_refused() -> None:
    report = judge(objective(40, 0), suite("safety", [1.0] * 12, [1.0] * 12))
    assert report.decision == "refuse"
    assert "at least 29 are needed" in report.reasons[0]


@pytest.mark.parametrize(
    ("suites", "required", "says"),
    [
        ((objective(40, 0), suite("safety", [1.0] * 60, [1.0] * 59)), (), "has 59 results for 60 items"),
        ((objective(40, 0),), ("safety",), "`safety` was not run"),
        ((suite("safety", [1.0] * 60, [1.0] * 60),), (), "objective was not measured"),
        ((objective(40, 0), suite("safety", [float("nan")] * 60, [1.0] * 60)), (), "not a number"),
        ((objective(40, 0), suite("safety", [], [])), (), "has no items"),
    ],
)
def test_incomplete_is_refused(suites: tuple[PairedSuite, ...], required: tuple[str, ...], says: str) -> None:
    report = judge(*suites, required=required)
    assert report.decision == "refuse"
    assert says in report.reasons[0]


def test_a_used_up_budget_is_refused() -> None:
    assert "used up" in judge(objective(40, 0), level=0.0).reasons[0]


def test_scores_are_compared_by_bootstrap() -> None:
    before = [k / 100 for k in range(100)]
    better = judge(suite("quality", before, [b + 0.05 + 0.02 * (k % 5) for k, b in enumerate(before)], role="objective", kind="score"))
    assert better.decision == "promote"
    assert "bootstrap" in better.suites[0].test
    few = judge(suite("quality", before[:5], before[:5], role="objective", kind="score"))
    assert few.decision == "refuse"
    slow = suite("latency", [0.0] * 40, [-0.6 + 0.001 * k for k in range(40)], kind="score", margin=0.4)
    assert judge(objective(40, 0), slow).decision == "reject"


def test_a_promotion_gives_its_share_back() -> None:
    promoted, rejected = judge(objective(40, 0)), judge(objective(1, 0))
    assert (promoted.alpha_spent, promoted.alpha_left) == (0.0, 0.05)
    assert (rejected.alpha_spent, rejected.alpha_left) == (0.025, 0.025)
    again = Attempt(candidate_id="rel_c", live_id="rel_l", level=0.025, failures=0, already_spent=0.025)
    assert decide(again, [objective(1, 0)], CONFIG, NOW).alpha_spent == 0.0


def test_facts_are_compared_as_measured() -> None:
    heavier = suite("memory", [-0.0], [-0.7], kind="fact", margin=0.5)
    assert judge(objective(40, 0), heavier).decision == "reject"
    assert judge(objective(40, 0), heavier.model_copy(update={"margin": 0.8})).decision == "promote"


def in_conversations(after: list[float], size: int) -> PairedSuite:
    groups = tuple(f"c{k // size}" for k in range(len(after)))
    return suite("objective", [0.0] * len(after), after, role="objective", groups=groups)


def test_decisions_of_one_conversation_count_as_one_witness() -> None:
    """Twenty gains in two conversations show less than twenty gains in twenty."""
    two = [1.0] * 20 + [0.0] * 180
    spread = ([1.0] + [0.0] * 9) * 20
    assert judge(in_conversations(two, 10)).decision == "reject"
    report = judge(in_conversations(spread, 10))
    assert report.decision == "promote"
    assert report.suites[0].test == "exact sign-flip test of conversations, one-sided"
    assert report.suites[0].effect == pytest.approx(0.1)
    assert "n 200 in 20 conversations" in report.reasons[0]


def test_one_conversation_is_too_few() -> None:
    report = judge(in_conversations([1.0] * 30, 30))
    assert report.decision == "refuse"
    assert "1 conversations" in report.reasons[0]
