"""Releases on disk: their states, every move with its reason, the gate's reports, and the error budget the gate has spent."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import Connection, RowMapping, func, insert, select, text, update

from noria.errors import DataError, StoreError
from noria.schema import Clock, GateReport, Record, Release, ReleaseState, SystemClock, new_id
from noria.store import tables
from noria.store.database import Database
from noria.store.rows import dump_json

MOVES: dict[ReleaseState, tuple[ReleaseState, ...]] = {
    "candidate": ("canary", "live", "rejected"),
    "canary": ("live", "rejected"),
    "live": (),
    "retired": ("live", "rejected"),
    "rejected": ("live",),
}
"""From where a release may go. The live one goes only by another's coming: it is then retired in the same transaction."""


class Move(Record):
    """One change of a release's state."""

    release_id: str
    from_state: ReleaseState
    to_state: ReleaseState
    reason: str
    created_at: datetime


class LedgerRow(Record):
    """What one release cost and what it brought, as far as it is known."""

    number: int
    release_id: str
    state: ReleaseState
    created_at: datetime
    decision: str | None
    feedback_used: Any
    minutes: float | None
    n: int | None
    effect: float | None
    interval: tuple[float, float] | None
    p: float | None
    alpha_spent: float
    reasons: tuple[str, ...]
    moved: str = ""
    """Why it last went live, or ceased to be; empty where it never was."""


class Releases:
    """All releases of a project; at most one is live."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    def add(self, artifacts: Mapping[str, str], parent_id: str | None = None, notes: Mapping[str, Any] | None = None) -> Release:
        """Record a new candidate; its number is the next one. Raises DataError for an unknown parent."""
        table = tables.releases
        with self._database.write() as connection:
            _lock(connection)
            if parent_id is not None:
                parent_id = _find(connection, parent_id).id
            number = (connection.execute(select(func.max(table.c.number))).scalar() or 0) + 1
            release = Release(
                id=new_id("rel"),
                number=number,
                parent_id=parent_id,
                state="candidate",
                artifacts=dict(artifacts),
                created_at=self._clock.now(),
                notes=dict(notes or {}),
            )
            packed = {"artifacts": dump_json(release.artifacts, "`artifacts`"), "notes": dump_json(release.notes, "`notes`")}
            connection.execute(insert(table).values({**release.model_dump(), **packed}))
        return release

    def get(self, name: str) -> Release:
        """The release of this id or number (`r3`). Raises DataError."""
        with self._database.read() as connection:
            return _find(connection, name)

    def live(self) -> Release | None:
        with self._database.read() as connection:
            return _live(connection)

    def move(self, name: str, to_state: ReleaseState, reason: str, report: GateReport | None = None) -> Release:
        """Change a release's state, with the gate's report if it decided so; one that comes to be live retires the one before.

        Raises:
            DataError: unknown release, or a move that `MOVES` does not have.
        """
        if to_state not in get_args(ReleaseState):
            raise DataError(f"A release cannot be {to_state!r}; allowed: {', '.join(get_args(ReleaseState))}.")
        now = self._clock.now()
        with self._database.write() as connection:
            _lock(connection)
            release = _find(connection, name)
            if to_state not in MOVES[release.state]:
                allowed = ", ".join(MOVES[release.state]) or "none; promote or roll back to another release instead"
                raise DataError(f"Release r{release.number} is {release.state} and cannot become {to_state}; allowed: {allowed}.")
            if report is not None:
                _insert_report(connection, report)
            before = _live(connection) if to_state == "live" else None
            if before is not None:
                _set_state(connection, before, "retired", f"r{release.number} went live: {reason}", now)
            _set_state(connection, release, to_state, reason, now)
        return release.model_copy(update={"state": to_state})

    def moves(self, name: str) -> list[Move]:
        """Every move of a release, oldest first."""
        table = tables.release_moves
        with self._database.read() as connection:
            query = select(table).where(table.c.release_id == _find(connection, name).id).order_by(table.c.seq)
            return [Move(**{field: row[field] for field in Move.model_fields}) for row in connection.execute(query).mappings()]

    def add_report(self, report: GateReport) -> None:
        """Keep a report that moves nothing (the gate refused to decide). What it spent is spent."""
        with self._database.write() as connection:
            _insert_report(connection, report)

    def reports(self, name: str) -> list[GateReport]:
        """The gate's reports on a candidate, oldest first."""
        table = tables.gate_reports
        with self._database.read() as connection:
            query = select(table.c.body).where(table.c.candidate_id == _find(connection, name).id).order_by(table.c.seq)
            return [GateReport.model_validate(json.loads(body)) for body in connection.execute(query).scalars()]

    def spent(self) -> list[float]:
        """The error probability that each report so far has spent, in order: what the gate derives the next share from."""
        with self._database.read() as connection:
            return [float(a) for a in connection.execute(select(tables.gate_reports.c.alpha_spent).order_by(tables.gate_reports.c.seq)).scalars()]

    def ledger(self) -> list[LedgerRow]:
        """One row a release, oldest first: feedback used and minutes from its notes, the rest from its last report."""
        return [_ledger_row(release, self.reports(release.id), self.moves(release.id)) for release in self.list()]

    def list(self) -> list[Release]:
        """Oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(tables.releases).order_by(tables.releases.c.number)).mappings()
            return [_read_release(row) for row in rows]


def _ledger_row(release: Release, reports: list[GateReport], moves: list[Move]) -> LedgerRow:
    report = reports[-1] if reports else None
    objective = next((s for s in report.suites if s.role == "objective"), None) if report is not None else None
    return LedgerRow(
        number=release.number,
        release_id=release.id,
        state=release.state,
        created_at=release.created_at,
        decision=report.decision if report else None,
        feedback_used=release.notes.get("feedback_used"),
        minutes=release.notes.get("minutes"),
        n=objective.n if objective else None,
        effect=objective.effect if objective else None,
        interval=objective.interval if objective else None,
        p=objective.p if objective else None,
        alpha_spent=sum(r.alpha_spent for r in reports),
        reasons=report.reasons if report else (),
        moved=moves[-1].reason if moves else "",
    )


def _lock(connection: Connection) -> None:
    """On PostgreSQL writers run side by side; numbers and the one live release need them one after the other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE releases IN SHARE ROW EXCLUSIVE MODE"))


def _find(connection: Connection, name: str) -> Release:
    table = tables.releases
    number = name[1:] if name[:1] == "r" and name[1:].isascii() and name[1:].isdigit() and len(name) < 10 else None
    query = select(table).where(table.c.number == int(number) if number is not None else table.c.id == name)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise DataError(f"No release is called {name!r}. `noria release list` shows them.")
    return _read_release(row)


def _live(connection: Connection) -> Release | None:
    row = connection.execute(select(tables.releases).where(tables.releases.c.state == "live")).mappings().first()
    return _read_release(row) if row is not None else None


def _read_release(row: RowMapping) -> Release:
    packed = {"artifacts": json.loads(row["artifacts"]), "notes": json.loads(row["notes"])}
    return Release(**{name: row[name] for name in Release.model_fields if name not in packed}, **packed)


def _set_state(connection: Connection, release: Release, to_state: ReleaseState, reason: str, now: datetime) -> None:
    table = tables.releases
    done = connection.execute(update(table).where(table.c.id == release.id, table.c.state == release.state).values(state=to_state))
    if done.rowcount != 1:
        raise StoreError(f"Release r{release.number} was changed by another process. Look with `noria release list`, then try again.")
    move = Move(release_id=release.id, from_state=release.state, to_state=to_state, reason=reason, created_at=now)
    connection.execute(insert(tables.release_moves).values(move.model_dump()))


def _insert_report(connection: Connection, report: GateReport) -> None:
    row = {
        "candidate_id": _find(connection, report.candidate_id).id,
        "decision": report.decision,
        "alpha_spent": report.alpha_spent,
        "body": dump_json(report.model_dump(mode="json"), "The report"),
        "created_at": report.created_at,
    }
    connection.execute(insert(tables.gate_reports).values(row))
