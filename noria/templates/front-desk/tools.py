"""What the desk can do: each decorated function is a tool the model may call.

The world is one SQLite file, `desk.db` in the state folder, made and seeded on first use. A tool that changes something writes its result
under the call's idempotency key in the same transaction as the change: the same call run again returns the first result and changes nothing.

Keep names, parameters and first lines short: all of them are in every prompt. Parameters typed `date`, `time`, `int` or `Literal` are checked
before the function runs; `ToolRetry` tells the model what to ask for, `ToolFailed` why it cannot be done.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

from noria.agent import ToolContext, tool
from noria.errors import ToolFailed, ToolRetry

RoomKind = Literal["single", "double", "suite"]
Item = Literal["towels", "pillow", "coffee", "soup", "curry", "pizza"]
Problem = Literal["heating", "light", "shower", "tv", "noise"]
Place = Literal["airport", "station", "center"]
Diet = Literal["vegan", "vegetarian", "all"]

MAX_NIGHTS = 21
OPENING, LAST_SEATING, SITTING = time(12), time(21, 30), timedelta(hours=2)
ROOMS: dict[int, RoomKind] = {
    floor * 100 + door: "single" if door <= 4 else "double" if door <= 10 else "suite" for floor in (1, 2, 3) for door in range(1, 13)
}
PRICES: dict[RoomKind, int] = {"single": 80, "double": 120, "suite": 210}
BEDS: dict[RoomKind, int] = {"single": 1, "double": 2, "suite": 4}
TABLES: dict[int, int] = {1: 2, 2: 2, 3: 4, 4: 4, 5: 6, 6: 8}  # table to seats
DISHES: dict[str, tuple[str, int]] = {"soup": ("vegan", 9), "curry": ("vegan", 14), "pizza": ("vegetarian", 12)}  # dish to diet and price

SCHEMA = """
CREATE TABLE rooms (number INTEGER PRIMARY KEY, kind TEXT NOT NULL, price INTEGER NOT NULL);
CREATE TABLE tables (number INTEGER PRIMARY KEY, seats INTEGER NOT NULL);
CREATE TABLE dishes (name TEXT PRIMARY KEY, diet TEXT NOT NULL, price INTEGER NOT NULL);
CREATE TABLE bookings (code TEXT PRIMARY KEY, user_id TEXT NOT NULL, what TEXT NOT NULL, date TEXT NOT NULL, time TEXT, nights INTEGER,
    guests INTEGER, place INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'booked');
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, room INTEGER NOT NULL, item TEXT NOT NULL);
CREATE TABLE issues (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, room INTEGER NOT NULL, problem TEXT NOT NULL);
CREATE TABLE taxis (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, date TEXT NOT NULL, time TEXT NOT NULL, place TEXT NOT NULL);
CREATE TABLE calls (key TEXT PRIMARY KEY, result TEXT NOT NULL);
"""


@tool
def find_rooms(date: date, nights: int, guests: int, ctx: ToolContext) -> dict[str, int]:
    """Free rooms and prices

    Args:
        date: Day of arrival.
        nights: How many nights.
        guests: How many people sleep in the room.
    """
    _check_stay(date, nights, ctx)
    with _desk(ctx) as desk:
        kinds = [kind for kind in PRICES if BEDS[kind] >= guests and _free_room(desk, kind, date, nights) is not None]
        return {kind: desk.execute("SELECT price FROM rooms WHERE kind = ?", (kind,)).fetchone()[0] for kind in kinds}


@tool(effect="writes")
def book_room(date: date, nights: int, room: RoomKind, ctx: ToolContext) -> dict[str, Any]:
    """Book a room

    Args:
        date: Day of arrival.
        nights: How many nights.
        room: Kind of room.
    """
    _check_stay(date, nights, ctx)

    def book(desk: sqlite3.Connection) -> dict[str, Any]:
        number = _free_room(desk, room, date, nights)
        if number is None:
            return {"full": room, "free": [kind for kind in PRICES if _free_room(desk, kind, date, nights) is not None]}
        return {"code": _add_booking(desk, ctx, what=room, date=date.isoformat(), nights=nights, place=number)}

    return _once(ctx, book)


@tool(effect="writes")
def book_table(date: date, time: time, guests: int, ctx: ToolContext) -> dict[str, Any]:
    """Book a table

    Args:
        date: Day of the meal.
        time: When the guests come.
        guests: How many people eat.
    """
    _check_day(date, ctx)
    if not OPENING <= time <= LAST_SEATING:
        raise ToolRetry("The restaurant seats guests from 12:00 to 21:30.")
    if not 1 <= guests <= max(TABLES.values()):
        raise ToolRetry(f"A table seats 1 to {max(TABLES.values())} people.")

    def book(desk: sqlite3.Connection) -> dict[str, Any]:
        table = _free_table(desk, date, time, guests)
        if table is None:
            return {"full": f"{time:%H:%M}", "free": _other_times(desk, date, time, guests)}
        return {"code": _add_booking(desk, ctx, what="table", date=date.isoformat(), time=f"{time:%H:%M}", guests=guests, place=table)}

    return _once(ctx, book)


@tool(effect="writes")
def change_booking(code: str, date: date, ctx: ToolContext) -> dict[str, Any]:
    """Move a booking

    Args:
        code: The guest's booking code.
        date: The new day.
    """
    _check_day(date, ctx)

    def move(desk: sqlite3.Connection) -> dict[str, Any]:
        row = _own_booking(desk, ctx, code)
        desk.execute("UPDATE bookings SET state = 'moving' WHERE code = ?", (row["code"],))
        if row["what"] == "table":
            place = _free_table(desk, date, time.fromisoformat(row["time"]), row["guests"])
        else:
            place = _free_room(desk, row["what"], date, row["nights"])
        if place is None:
            raise ToolFailed(f"Nothing is free on {date}; the booking stays as it was.")
        desk.execute("UPDATE bookings SET state = 'booked', date = ?, place = ? WHERE code = ?", (date.isoformat(), place, row["code"]))
        return {"code": row["code"], "date": date.isoformat()}

    return _once(ctx, move)


@tool(effect="writes")
def cancel_booking(code: str, ctx: ToolContext) -> dict[str, Any]:
    """Cancel a booking

    Args:
        code: The guest's booking code.
    """

    def cancel(desk: sqlite3.Connection) -> dict[str, Any]:
        row = _own_booking(desk, ctx, code)
        desk.execute("UPDATE bookings SET state = 'cancelled' WHERE code = ?", (row["code"],))
        return {"cancelled": row["code"]}

    return _once(ctx, cancel)


@tool(effect="writes")
def order_service(room: int, item: Item, ctx: ToolContext) -> dict[str, Any]:
    """Bring something

    Args:
        room: Number of the guest's room.
        item: What to bring; dishes go on the bill.
    """
    _check_room(room)

    def order(desk: sqlite3.Connection) -> dict[str, Any]:
        desk.execute("INSERT INTO orders (user_id, room, item) VALUES (?, ?, ?)", (ctx.user_id, room, item))
        return {"ordered": item}

    return _once(ctx, order)


@tool(effect="writes")
def report_issue(room: int, problem: Problem, ctx: ToolContext) -> dict[str, Any]:
    """Report a defect

    Args:
        room: Number of the guest's room.
        problem: What is wrong.
    """
    _check_room(room)

    def report(desk: sqlite3.Connection) -> dict[str, Any]:
        desk.execute("INSERT INTO issues (user_id, room, problem) VALUES (?, ?, ?)", (ctx.user_id, room, problem))
        return {"reported": problem}

    return _once(ctx, report)


@tool(effect="sends")
def request_taxi(date: date, time: time, place: Place, ctx: ToolContext) -> dict[str, Any]:
    """Order a taxi

    Args:
        date: Day of the ride.
        time: When it leaves the hotel.
        place: Where it goes.
    """
    _check_day(date, ctx)

    def request(desk: sqlite3.Connection) -> dict[str, Any]:
        row = (ctx.user_id, date.isoformat(), f"{time:%H:%M}", place)
        desk.execute("INSERT INTO taxis (user_id, date, time, place) VALUES (?, ?, ?, ?)", row)
        return {"taxi": place}

    return _once(ctx, request)


@tool
def show_menu(diet: Diet, ctx: ToolContext) -> dict[str, int]:
    """Dishes of today

    Args:
        diet: Vegetarian includes vegan dishes.
    """
    diets = {"vegan": ("vegan",), "vegetarian": ("vegan", "vegetarian"), "all": ("vegan", "vegetarian", "meat")}[diet]
    with _desk(ctx) as desk:
        return {row["name"]: row["price"] for row in desk.execute("SELECT * FROM dishes ORDER BY rowid") if row["diet"] in diets}


def open_desk(state_dir: Path, today: date) -> sqlite3.Connection:
    """The world in `state_dir`, made and seeded with the house and a few bookings of other guests on first use."""
    state_dir.mkdir(parents=True, exist_ok=True)
    desk = sqlite3.connect(state_dir / "desk.db", timeout=20, isolation_level=None)
    desk.row_factory = sqlite3.Row
    if desk.execute("PRAGMA user_version").fetchone()[0] == 0:
        desk.execute("BEGIN IMMEDIATE")
        if desk.execute("PRAGMA user_version").fetchone()[0] == 0:  # nobody was faster
            _seed(desk, today)
            desk.execute("PRAGMA user_version = 1")
        desk.execute("COMMIT")
    return desk


def _seed(desk: sqlite3.Connection, today: date) -> None:
    for statement in SCHEMA.split(";"):
        desk.execute(statement)
    desk.executemany("INSERT INTO rooms VALUES (?, ?, ?)", [(number, kind, PRICES[kind]) for number, kind in ROOMS.items()])
    desk.executemany("INSERT INTO tables VALUES (?, ?)", TABLES.items())
    desk.executemany("INSERT INTO dishes VALUES (?, ?, ?)", [(name, diet, price) for name, (diet, price) in DISHES.items()])
    first, second = ((today + timedelta(days=days)).isoformat() for days in (1, 2))
    _insert_booking(desk, {"code": "Q101", "user_id": "mira", "what": "double", "date": today.isoformat(), "nights": 3, "place": 105})
    _insert_booking(desk, {"code": "Q102", "user_id": "tomas", "what": "suite", "date": first, "nights": 2, "place": 111})
    _insert_booking(desk, {"code": "Q103", "user_id": "mira", "what": "table", "date": first, "time": "19:00", "guests": 2, "place": 1})
    _insert_booking(desk, {"code": "Q104", "user_id": "ines", "what": "table", "date": second, "time": "20:00", "guests": 4, "place": 3})


@contextmanager
def _desk(ctx: ToolContext) -> Iterator[sqlite3.Connection]:
    desk = open_desk(ctx.state_dir, ctx.today)
    try:
        yield desk
    finally:
        desk.close()


def _once(ctx: ToolContext, act: Callable[[sqlite3.Connection], dict[str, Any]]) -> dict[str, Any]:
    """Run `act` in one transaction with its result under the idempotency key, or return the result that is already there."""
    with _desk(ctx) as desk:
        desk.execute("BEGIN IMMEDIATE")
        try:
            row = desk.execute("SELECT result FROM calls WHERE key = ?", (ctx.idempotency_key,)).fetchone()
            result = json.loads(row["result"]) if row else act(desk)
            if row is None:
                desk.execute("INSERT INTO calls VALUES (?, ?)", (ctx.idempotency_key, json.dumps(result)))
        except BaseException:
            desk.execute("ROLLBACK")
            raise
        desk.execute("COMMIT")
        return result


def _check_day(day: date, ctx: ToolContext) -> None:
    if day < ctx.today:
        raise ToolRetry(f"{day} is in the past; today is {ctx.today}.")


def _check_stay(day: date, nights: int, ctx: ToolContext) -> None:
    _check_day(day, ctx)
    if not 1 <= nights <= MAX_NIGHTS:
        raise ToolRetry(f"A stay is 1 to {MAX_NIGHTS} nights.")


def _check_room(room: int) -> None:
    if room not in ROOMS:
        raise ToolRetry(f"There is no room {room}.")


def _own_booking(desk: sqlite3.Connection, ctx: ToolContext, code: str) -> sqlite3.Row:
    row = desk.execute("SELECT * FROM bookings WHERE code = ? AND user_id = ? AND state = 'booked'", (code.strip().upper(), ctx.user_id)).fetchone()
    if row is None:
        raise ToolFailed(f"This guest has no booking {code}.")
    return row


def _free_room(desk: sqlite3.Connection, kind: str, day: date, nights: int) -> int | None:
    row = desk.execute(
        "SELECT number FROM rooms WHERE kind = ? AND number NOT IN (SELECT place FROM bookings WHERE state = 'booked' AND what != 'table'"
        " AND date < ? AND date(date, nights || ' days') > ?) ORDER BY number",
        (kind, (day + timedelta(days=nights)).isoformat(), day.isoformat()),
    ).fetchone()
    return row["number"] if row else None


def _free_table(desk: sqlite3.Connection, day: date, at: time, guests: int) -> int | None:
    """The smallest table that is free for a whole sitting."""
    start = datetime.combine(day, at)
    taken = {
        row["place"]
        for row in desk.execute("SELECT place, time FROM bookings WHERE state = 'booked' AND what = 'table' AND date = ?", (day.isoformat(),))
        if abs(datetime.combine(day, time.fromisoformat(row["time"])) - start) < SITTING
    }
    rows = desk.execute("SELECT number FROM tables WHERE seats >= ? ORDER BY seats, number", (guests,))
    return next((row["number"] for row in rows if row["number"] not in taken), None)


def _other_times(desk: sqlite3.Connection, day: date, at: time, guests: int) -> list[str]:
    """The nearest free times before and after a full one."""
    free: list[str] = []
    for step in (-1, 1):
        start = datetime.combine(day, at)
        while (start := start + step * timedelta(minutes=30)).date() == day and OPENING <= start.time() <= LAST_SEATING:
            if _free_table(desk, day, start.time(), guests) is not None:
                free.append(f"{start:%H:%M}")
                break
    return free


def _add_booking(desk: sqlite3.Connection, ctx: ToolContext, **columns: Any) -> str:
    """Insert a booking of the guest; returns its code, which follows from guest and number of bookings (no clock, no chance)."""
    count = desk.execute("SELECT count(*) FROM bookings").fetchone()[0]
    digest = hashlib.sha256(f"{ctx.user_id}|{count}".encode()).digest()
    number = int.from_bytes(digest[:4], "big")
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    while True:
        code = f"{letters[number // 900 % len(letters)]}{number % 900 + 100}"
        if desk.execute("SELECT 1 FROM bookings WHERE code = ?", (code,)).fetchone() is None:
            break
        number += 1
    _insert_booking(desk, {"code": code, "user_id": ctx.user_id, **columns})
    return code


def _insert_booking(desk: sqlite3.Connection, row: Mapping[str, Any]) -> None:
    """Insert the columns that `row` has; the others stay empty."""
    columns = ("code", "user_id", "what", "date", "time", "nights", "guests", "place")
    values = tuple(row.get(column) for column in columns)
    desk.execute("INSERT INTO bookings (code, user_id, what, date, time, nights, guests, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
