from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from noria.errors import DataError
from noria.schema import GateReport, SuiteResult
from noria.store import Database, Releases


@pytest.fixture
def releases(database: Database, clock) -> Releases:
    return Releases(database, clock)


def report(candidate: str, live: str, decision: str = "promote", alpha: float = 0.01) -> GateReport:
    suite = SuiteResult(
        suite="bookings",
        role="objective",
        n=200,
        before=0.5,
        after=0.6,
        effect=0.1,
        interval=(0.02, 0.18),
        test="McNemar",
        p=0.004,
        alpha=alpha,
        passed=True,
        reason="better",
    )
    return GateReport(
        candidate_id=candidate,
        live_id=live,
        decision=decision,
        reasons=("better on bookings",),
        suites=(suite,),
        alpha_spent=alpha,
        alpha_left=0.05 - alpha,
        created_at=datetime(2026, 3, 4, tzinfo=UTC),
    )


def test_a_candidate_goes_live_and_the_one_before_retires(releases: Releases) -> None:
    assert releases.live() is None
    first = releases.add({"model": "smollm2"}, notes={"origin": "base"})
    assert (first.number, first.state) == (1, "candidate")
    releases.move("r1", "live", "the first")
    second = releases.add({"model": "m", "adapter": "abc"}, parent_id="r1", notes={"feedback_used": 40, "minutes": 3.5})
    assert second.parent_id == first.id
    moved = releases.move(second.id, "live", "better", report(second.id, first.id))
    assert moved == releases.get("r2") == releases.live()
    assert [r.state for r in releases.list()] == ["retired", "live"]
    assert [(m.from_state, m.to_state, m.reason) for m in releases.moves("r1")] == [
        ("candidate", "live", "the first"),
        ("live", "retired", "r2 went live: better"),
    ]
    assert releases.reports("r2") == [report(second.id, first.id)]
    rolled_back = releases.move("r1", "live", "rollback")
    assert rolled_back.state == "live"
    assert releases.get("r2").state == "retired"


def test_the_ledger_adds_up(releases: Releases) -> None:
    first = releases.add({"model": "m"})
    second = releases.add({"model": "n"}, first.id, {"feedback_used": 40, "minutes": 3.5})
    releases.add_report(report(second.id, first.id, "refuse", 0.0))
    releases.move(second.id, "rejected", "worse", report(second.id, first.id, "reject", 0.02))
    assert releases.spent() == [0.0, 0.02]
    base, row = releases.ledger()
    assert (base.decision, base.alpha_spent, base.n) == (None, 0.0, None)
    assert (row.number, row.state, row.decision, row.feedback_used, row.minutes, row.n) == (2, "rejected", "reject", 40, 3.5, 200)
    assert (row.effect, row.interval, row.p, row.alpha_spent) == (0.1, (0.02, 0.18), 0.004, 0.02)


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [
        ("r9", "live", "No release is called 'r9'"),
        ("rel_x", "live", "No release is called 'rel_x'"),
        ("r1", "flying", "cannot be 'flying'; allowed: candidate, canary"),
        ("r1", "retired", "r1 is candidate and cannot become retired; allowed: canary, live, rejected"),
    ],
)
def test_wrong_moves_are_refused(releases: Releases, name: str, state: str, says: str) -> None:
    releases.add({"model": "m"})
    with pytest.raises(DataError, match=says):
        releases.move(name, state, "try")
    assert releases.get("r1").state == "candidate"


def test_the_live_release_only_goes_when_another_comes(releases: Releases) -> None:
    releases.add({"model": "m"})
    releases.move("r1", "live", "first")
    with pytest.raises(DataError, match="promote or roll back to another"):
        releases.move("r1", "retired", "tired")


def test_numbers_stay_apart_when_many_add_at_once(releases: Releases) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda i: releases.add({"model": str(i)}), range(16)))
    assert sorted(r.number for r in added) == list(range(1, 17))


def test_a_report_with_a_number_that_is_none_is_kept(releases: Releases) -> None:
    release = releases.add({"model": "m"})
    odd = report(release.id, release.id)
    odd = odd.model_copy(update={"suites": (odd.suites[0].model_copy(update={"p": float("inf")}),)})
    releases.add_report(odd)
    assert releases.reports("r1") == [odd]
