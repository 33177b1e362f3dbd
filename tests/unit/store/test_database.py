"""Opening, migrating, two processes at once, and what is said when the disk or the file fails."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, func, insert, inspect, select, text

from noria.errors import NoriaError, StoreError
from noria.schema import Message
from noria.store import Database, FeedbackLog, Releases, Traces, tables
from noria.store.migrate import HEAD, current_revision, migrate

FIXTURES = Path(__file__).parent / "fixtures"


def test_migrations_make_the_tables_the_code_uses(url: str) -> None:
    with Database.open(url) as database, database.read() as connection:
        assert current_revision(connection) == HEAD
        schema = inspect(connection).default_schema_name
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_schemas": False})
        differences = [d for d in compare_metadata(context, tables.metadata) if "server_default" not in str(d)]
        assert differences == [], schema


def test_head_is_the_newest_migration() -> None:
    versions = sorted(p.stem for p in (Path(tables.__file__).parent / "migrations" / "versions").glob("v*.py"))
    assert versions[-1].startswith(f"v{HEAD}_")


def load_old(url: str) -> None:
    """A database as the first revision left it, with the rows of the fixture."""
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate(connection, to="0001")
        for statement in (FIXTURES / "records-0001.sql").read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(re.sub(r"X'([0-9a-f]*)'", r"'\\x\1'", statement) if kind == "postgresql" else statement)
    engine.dispose()


def test_an_old_database_keeps_its_rows(url: str) -> None:
    load_old(url)
    with Database.open(url) as database:
        traces = Traces(database)
        (conversation,) = traces.conversations()
        user, call, result, answer = traces.history(conversation.id)
        assert (user.content, answer.content) == ("A table for two, please.", "Your table is booked.")
        assert call.tool_calls[0].arguments == {"guests": 2}
        assert result.content == '{"id":7}'
        (turn,) = traces.turns(conversation.id)
        assert turn.answer == answer
        step = traces.steps(turn.id)[0]
        assert (step.token_ids, step.logprobs) == ((5, 6), (-0.5, -0.25))
        assert FeedbackLog(database).list()[0].value is True
        assert Releases(database).live().artifacts == {"model": "smollm2"}
        assert traces.find_by_history([user, answer]) == conversation, "hashes that the first revision had not are filled in"
        assert traces.find_by_history([user, call, result, answer]) == conversation
        again = traces.start_turn(conversation.id, [Message(role="user", content="Thanks")])
        assert again.index == 1
        assert len(traces.history(conversation.id)) == 5


def test_a_database_of_a_newer_noria_is_left_alone(url: str) -> None:
    Database.open(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="revision '9999', this Noria knows up to .* Run `git pull`"):
        Database.open(url)


OPEN_AND_ADD = """
import sys
from datetime import date
from noria.schema import Message
from noria.store import Database, Traces
sys.stdin.readline()
with Database.open(sys.argv[1]) as database:
    traces = Traces(database)
    for i in range(10):
        traces.start_turn(traces.start_conversation("r", "u", date(2026, 3, 4)).id, [Message(role="user", content=f"{sys.argv[2]} {i}")])
"""


def test_processes_that_open_a_new_database_at_once(url: str) -> None:
    command = [sys.executable, "-c", OPEN_AND_ADD, url]
    started = [subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for n in range(3)]
    ended = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, said = process.communicate(timeout=60)
        ended.append((process.returncode, said))
    assert ended == [(0, "")] * 3
    with Database.open(url) as database:
        assert len(Traces(database).conversations()) == 30


def test_threads_write_one_after_the_other(database: Database) -> None:
    traces = Traces(database)
    conversation = traces.start_conversation("r", "u", date(2026, 3, 4))
    failed: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for i in range(5):
                traces.start_turn(conversation.id, [Message(role="user", content=f"{name}{i}")])
        except BaseException as error:  # noqa: BLE001 - a thread's error is told in the main one
            failed.append(error)

    threads = [threading.Thread(target=work, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [e.position for e in traces.transcript(conversation.id)] == list(range(30))
    assert sorted(t.index for t in traces.turns(conversation.id)) == list(range(30))


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def half_done() -> None:
        with database.write() as connection:
            connection.execute(insert(tables.messages).values(hash="a", body="{}"))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError):
        half_done()
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.messages)).scalar() == 0
    database.check()


def sqlite_at(path: Path) -> Database:
    return Database.open(f"sqlite:///{path}")


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    database = sqlite_at(tmp_path / "noria.db")
    traces = Traces(database)
    kept = traces.put_blob(b"kept")
    with database.read() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()

    def limit(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages + 2}")

    event.listen(database.engine, "checkout", limit)
    with pytest.raises(StoreError, match=r"The disk of '.*noria.db' is full; nothing was half-written. Free some space"):
        traces.put_blob(bytes(range(256)) * 4096)
    event.remove(database.engine, "checkout", limit)
    assert traces.blob(kept) == b"kept"
    database.close()
    with sqlite_at(tmp_path / "noria.db") as again:
        assert Traces(again).blob(kept) == b"kept"


def test_a_lock_that_nobody_frees_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.store.database.BUSY_SECONDS", 0.1)
    with sqlite_at(tmp_path / "noria.db") as first, sqlite_at(tmp_path / "noria.db") as second, first.write():
        assert Traces(second).conversations() == [], "readers do not wait"
        with pytest.raises(StoreError, match="Another process has kept '.*noria.db' locked"):
            Traces(second).put_blob(b"x")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all " * 400)


def torn(path: Path) -> None:
    """Valid at first sight: the header is whole, the pages behind it are not."""
    with sqlite_at(path) as database:
        traces = Traces(database)
        for i in range(200):
            traces.put_blob(bytes(f"{i}", "ascii") * 500)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(("damage", "says"), [(garbage, "is corrupt, or no database of Noria"), (torn, "is corrupt"), (a_folder, "cannot be opened")])
def test_a_damaged_file_is_said(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(tmp_path / "noria.db")
    with pytest.raises(StoreError, match=f"noria.db' {says}"):
        sqlite_at(tmp_path / "noria.db")


def test_check_reads_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "noria.db"
    with sqlite_at(path) as database:
        traces = Traces(database)
        for i in range(100):
            traces.put_blob(bytes(f"{i} ", "ascii") * 900)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 40_960] + b"\xff" * 40_960)
    with pytest.raises(StoreError, match="is corrupt"), sqlite_at(path) as database:
        database.check()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("what", "'what' is no database URL; allowed: 'sqlite:///PATH'"),
        ("sqlite://", "cannot hold a project"),
        ("mysql://x/y", "cannot hold a project; allowed"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:1/none", r"Cannot reach 'postgresql\+psycopg://nobody:\*\*\*@127"),
        ("sqlite:////proc/none/noria.db", "cannot be made"),
    ],
)
def test_urls_that_lead_nowhere(url: str, says: str) -> None:
    with pytest.raises(NoriaError, match=says):
        Database.open(url)


def test_other_peoples_tables_are_left_alone(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE turns (id INTEGER)"))
    engine.dispose()
    with pytest.raises(StoreError, match="not Noria's. Name another one"):
        Database.open(url)
