"""The world of one episode: seeded from a goal, compared at the end with what the goal wants. Knows the tables of `tools.py`."""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Any

Rows = dict[str, Counter[tuple[Any, ...]]]
QUERIES = {
    "bookings": "SELECT user_id, what, date, time, nights, guests, state FROM bookings",
    "orders": "SELECT user_id, room, item FROM orders",
    "issues": "SELECT user_id, room, problem FROM issues",
    "taxis": "SELECT user_id, date, time, place FROM taxis",
}


def seed(desk: sqlite3.Connection, world: Mapping[str, Any]) -> None:
    """Put a goal's `bookings` (rows), `dishes` (name to diet) and what is `full` (table, day, time; or room kind, day, nights) into a fresh desk."""
    desk.execute("BEGIN IMMEDIATE")
    for what, day, extent in world.get("full", ()):
        _fill(desk, what, day, extent)
    for row in world.get("bookings", ()):
        _insert(desk, row)
    for name, diet in world.get("dishes", {}).items():
        desk.execute("UPDATE dishes SET diet = ? WHERE name = ?", (diet, name))
    desk.execute("COMMIT")


def _fill(desk: sqlite3.Connection, what: str, day: str, extent: Any) -> None:
    """Give every table at a time, or every room of a kind for some nights, to somebody else."""
    table = what == "table"
    places = desk.execute("SELECT number FROM tables" if table else "SELECT number FROM rooms WHERE kind = ?", () if table else (what,)).fetchall()
    for (place,) in places:
        row = {"code": f"X{what[:2]}{place}", "user_id": "other", "what": what, "date": day, "place": place}
        _insert(desk, {**row, "time" if table else "nights": extent})


def _insert(desk: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    columns = ("code", "user_id", "what", "date", "time", "nights", "guests", "place")
    values = tuple(row.get(column) for column in columns)
    desk.execute("INSERT INTO bookings (code, user_id, what, date, time, nights, guests, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def snapshot(desk: sqlite3.Connection) -> Rows:
    """What people and the house care about; codes and table numbers, which the desk chooses, are left out."""
    return {table: Counter(tuple(row) for row in desk.execute(query)) for table, query in QUERIES.items()}


def wanted(before: Rows, changes: Mapping[str, Any]) -> Rows:
    """`before` with a goal's `removed` and `added` rows (table to lists of values in the order of `QUERIES`)."""
    rows = {table: Counter(counts) for table, counts in before.items()}
    for table, values in changes.get("removed", {}).items():
        rows[table].subtract(tuple(row) for row in values)
    for table, values in changes.get("added", {}).items():
        rows[table].update(tuple(row) for row in values)
    return {table: +counts for table, counts in rows.items()}


def difference(found: Rows, expected: Rows) -> str:
    """One sentence naming the first table that is not as wanted, empty when all are."""
    for table in QUERIES:
        missing, extra = expected[table] - found[table], found[table] - expected[table]
        if missing or extra:
            parts = [f"missing {_row(r)}" for r in missing] + [f"unwanted {_row(r)}" for r in extra]
            return f"{table}: {'; '.join(parts)}"
    return ""


def _row(row: tuple[Any, ...]) -> str:
    return " ".join(str(value) for value in row[1:] if value is not None)
