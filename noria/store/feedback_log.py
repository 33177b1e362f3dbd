"""Feedback on disk: every piece bound to the turn it speaks of, appended and never changed."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select

from noria.errors import DataError
from noria.schema import Clock, Feedback, SystemClock, new_id
from noria.store import tables
from noria.store.database import Database
from noria.store.rows import dump_json


class FeedbackLog:
    """All feedback of a project."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    def add(self, receipt: str, kind: str, value: Any, source: str, role: str, step: int | None = None) -> Feedback:
        """Check and keep one piece. Raises DataError for a value that does not fit its kind, and for an unknown receipt or step."""
        return self.add_many([{"receipt": receipt, "kind": kind, "value": value, "source": source, "role": role, "step": step}])[0]

    def add_many(self, pieces: Sequence[Mapping[str, Any]], places: Sequence[str] | None = None) -> list[Feedback]:
        """As `add`, all or none. `places` (such as "'f.jsonl' line 3") says in a DataError where each piece came from."""
        now = self._clock.now()
        checked: list[Feedback] = []
        rows: list[dict[str, Any]] = []
        with self._database.write() as connection:
            for index, piece in enumerate(pieces):
                try:
                    feedback = Feedback.checked(id=new_id("fb"), created_at=now, **piece)
                    _check_receipt(connection, feedback)
                    rows.append({**feedback.model_dump(), "value": dump_json(feedback.value, "Feedback `value`", "value")})
                except DataError as error:
                    raise DataError(f"{places[index]}: {error}" if places else str(error), error.field) from error
                checked.append(feedback)
            if checked:
                connection.execute(insert(tables.feedback), rows)
        return checked

    def list(
        self,
        receipt: str | None = None,
        kind: str | None = None,
        source: str | None = None,
        role: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        conversation_id: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Feedback]:
        """The feedback that fits every filter given, in the order of arrival; `since` is included, `until` is not."""
        table = tables.feedback
        query = select(table).order_by(table.c.seq.desc() if newest_first else table.c.seq)
        for column, wanted in ((table.c.receipt, receipt), (table.c.kind, kind), (table.c.source, source), (table.c.role, role)):
            if wanted is not None:
                query = query.where(column == wanted)
        if since is not None:
            query = query.where(table.c.created_at >= since)
        if until is not None:
            query = query.where(table.c.created_at < until)
        if conversation_id is not None:
            query = query.join(tables.turns, tables.turns.c.id == table.c.receipt).where(tables.turns.c.conversation_id == conversation_id)
        if limit is not None:
            query = query.limit(limit)
        with self._database.read() as connection:
            return [_read_feedback(row) for row in connection.execute(query).mappings()]

    def stats(self) -> dict[str, Any]:
        """Counts: `total`, `by_kind`, `by_role`, `sources`, `turns`, `conversations`, `thumbs` up and down, `first` and `last` time."""
        table = tables.feedback
        with self._database.read() as connection:
            by_kind = _counts(connection, table.c.kind)
            by_role = _counts(connection, table.c.role)
            thumbs = _counts(connection, table.c.value, table.c.kind == "thumb")
            distinct = [func.count(func.distinct(column)) for column in (table.c.source, table.c.receipt)]
            sources, turns = connection.execute(select(distinct[0], distinct[1])).one()
            first, last = connection.execute(select(func.min(table.c.created_at), func.max(table.c.created_at))).one()
            joined = select(func.count(func.distinct(tables.turns.c.conversation_id))).join(table, table.c.receipt == tables.turns.c.id)
            conversations = connection.execute(joined).scalar_one()
        return {
            "total": sum(by_kind.values()),
            "by_kind": by_kind,
            "by_role": by_role,
            "sources": sources,
            "turns": turns,
            "conversations": conversations,
            "thumbs": {"up": thumbs.get("true", 0), "down": thumbs.get("false", 0)},
            "first": first.isoformat() if first else None,
            "last": last.isoformat() if last else None,
        }


def _counts(connection: Connection, column: ColumnElement[str], *where: ColumnElement[bool]) -> dict[str, int]:
    query = select(column, func.count()).where(*where).group_by(column).order_by(column)
    return {str(value): int(count) for value, count in connection.execute(query)}


def _read_feedback(row: RowMapping) -> Feedback:
    return Feedback(**{name: row[name] for name in Feedback.model_fields if name != "value"}, value=json.loads(row["value"]))


def _check_receipt(connection: Connection, feedback: Feedback) -> None:
    turn = connection.execute(select(tables.turns.c.id).where(tables.turns.c.id == feedback.receipt)).first()
    if turn is None:
        raise DataError(
            f"No answer has the receipt {feedback.receipt!r}. It is the `id` of the answer, also in the header `x-noria-receipt`.", "receipt"
        )
    if feedback.step is None:
        return
    steps, entries = tables.steps.c, tables.conversation_messages
    num_decisions = connection.execute(select(func.count()).where(steps.turn_id == feedback.receipt, steps.kind == "model")).scalar_one()
    num_messages = connection.execute(select(func.count()).select_from(entries).where(entries.c.turn_id == feedback.receipt)).scalar_one()
    last = max(num_decisions, num_messages)
    if not 0 <= feedback.step <= last:
        raise DataError(
            f"Feedback `step` is {feedback.step}; the answer {feedback.receipt!r} has the decisions 0 to {max(num_decisions - 1, 0)}.", "step"
        )
