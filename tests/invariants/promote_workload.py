"""The releases that tests/invariants/test_kill.py kills: a script of promotions and rollbacks, going on behind the last step that was committed."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select

from noria.config import Project
from noria.lifecycle.improve import conclude
from noria.lifecycle.releases import Records, promote, roll_back
from noria.schema import GateReport, Release, canonical_json
from noria.store import tables
from noria.testing.killing import FaultPoints, serve

Step = Callable[[Records], Release]
NUM_RELEASES = 7
LIVE = [1, 2, 1, 2, 3, 5, 3, 6, 2, 7]
"""Which release is live, from the beginning to the end of the script."""


def judged(number: int, decision: str) -> Step:
    """The gate says so of a candidate that it has just compared with the live release."""
    return lambda records: conclude(records, records.releases.get(f"r{number}"), report(records, number, decision))


def promoted(number: int, force: str | None = None) -> Step:
    """By the report that was kept, or by force."""
    return lambda records: promote(records, f"r{number}", force=force)


def back(to: int | None = None) -> Step:
    return lambda records: roll_back(records, "guests complained", f"r{to}" if to else None)


STEPS: list[tuple[Step, bool]] = [
    (judged(2, "promote"), False),
    (back(), False),
    (judged(3, "refuse"), False),
    (judged(4, "reject"), False),
    (back(to=2), False),
    (promoted(3, force="the hotel moved"), True),
    (judged(5, "promote"), False),
    (back(to=3), False),
    (promoted(6), True),
    (back(to=2), False),
    (promoted(7, force="a new season"), True),
]
"""Each leaves one mark: a release that moved, or a report that refused. Those marked True may be said again when they are done already."""


def report(records: Records, number: int, decision: str, live: str | None = None) -> GateReport:
    now_live = records.releases.live()
    assert now_live is not None
    return GateReport(
        candidate_id=records.releases.get(f"r{number}").id,
        live_id=live or now_live.id,
        decision=decision,  # type: ignore[arg-type]
        reasons=(f"because {decision} r{number}",),
        suites=(),
        alpha_spent=0.0 if decision == "promote" else 0.01,
        alpha_left=0.05,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def prepare(folder: Path) -> None:
    """A project whose r1 is live, six candidates beside it, and for r6 a report that the script promotes it by."""
    (folder / "noria.toml").write_text('[project]\nname = "p"\n')
    with Records.open(Project.load(folder)) as records:
        for number in range(1, NUM_RELEASES + 1):
            parts = {"engine": records.artifacts.build("engine", {}, {"number": number}, 0, _weights(number)).hash}
            release = records.releases.add(parts, None if number == 1 else "r1")
            if number == 1:
                records.releases.move(release.id, "live", "first")
        records.releases.add_report(report(records, 6, "promote", live=records.releases.get("r3").id))


def _weights(number: int) -> Callable[[Path], dict[str, int]]:
    return lambda folder: {"size": (folder / "model.gguf").write_text(f"weights of r{number}")}


def num_done(records: Records) -> int:
    """Steps of the script that were committed, by the marks they left."""
    every = records.releases.list()
    moved = sum(move.to_state in ("live", "rejected") for release in every for move in records.releases.moves(release.id))
    refused = sum(r.decision == "refuse" for release in every for r in records.releases.reports(release.id))
    return moved - 1 + refused


def main(folder: str, verb: str = "run", fatal: int = 0, delay: float = 0.0) -> None:
    """One life: the steps that were not done yet; the last one once more where that must not matter."""
    if verb == "prepare":
        prepare(Path(folder))
        return
    points = FaultPoints(fatal, delay)
    points.watch_files(Path(folder))
    points.watch_database(Path(folder) / ".noria" / "noria.db")
    with Records.open(Project.load(Path(folder))) as records:
        done = num_done(records)
        if done and STEPS[done - 1][1]:
            STEPS[done - 1][0](records)
        for step, _ in STEPS[done:]:
            step(records)
    (Path(folder) / "points").write_text(str(points.num_passed))


def end_state(folder: Path) -> dict[str, Any]:
    """Which release is live, every state, every move and report in the order they came."""
    with Records.open(Project.load(folder)) as records:
        records.database.check()
        every = records.releases.list()
        moves, number = tables.release_moves.c, tables.releases.c.number
        query = select(number, moves.from_state, moves.to_state, moves.reason).join(tables.releases, tables.releases.c.id == moves.release_id)
        with records.database.read() as connection:
            moved = [tuple(row) for row in connection.execute(query.order_by(moves.seq))]
        return {
            "live": [release.number for release in every if release.state == "live"],
            "states": {f"r{release.number}": release.state for release in every},
            "moves": moved,
            "reports": {f"r{r.number}": [kept.model_dump(mode="json") for kept in records.releases.reports(r.id)] for r in every},
            "ledger": [row.model_dump(mode="json") for row in records.releases.ledger()],
            "spent": records.releases.spent(),
        }


def end_hash(folder: Path) -> str:
    return hashlib.sha256(canonical_json(end_state(folder)).encode()).hexdigest()


def check(folder: Path) -> None:
    """What holds at every moment: exactly one release is live, it is the one the moves lead to, and the script was followed up to there."""
    state = end_state(folder)
    went_live = [number for number, _, to_state, _ in state["moves"] if to_state == "live"]
    assert went_live == LIVE[: len(went_live)]
    assert state["live"] == [went_live[-1]]
    states: dict[str, str] = {}
    for number, from_state, to_state, _ in state["moves"]:
        assert states.get(f"r{number}", "candidate") == from_state
        states[f"r{number}"] = to_state
    assert state["states"] == {name: states.get(name, "candidate") for name in state["states"]}


if __name__ == "__main__":
    serve(main)
