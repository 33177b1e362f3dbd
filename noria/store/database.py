"""The database of a project: SQLite for one machine, PostgreSQL when one is outgrown; the same tables and the same transactions.

`Database.open(url)` brings the tables to the newest revision. `read()` and `write()` are the only two ways in: each is one transaction on one
connection, and whatever the driver raises leaves as a StoreError of one sentence. SQLite runs in WAL mode with full synchronisation (what was
committed survives a power cut) and one writer at a time, who takes the write lock at the beginning; readers never wait.
"""

import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy import exc as sql_errors

from noria.errors import ConfigError, DataError, NoriaError, StoreError
from noria.store.migrate import HEAD, current_revision, migrate

BUSY_SECONDS = 30.0
"""How long a writer waits for the one before it."""


class Database:
    """An open database; threads share it, each process opens its own."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self.engine = engine
        self.url = url
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open `sqlite:///PATH` or `postgresql+psycopg://...`, made or migrated as needed. Raises ConfigError, StoreError."""
        try:
            parsed = make_url(url)
        except sql_errors.ArgumentError as error:
            raise ConfigError(f"{url!r} is no database URL; allowed: 'sqlite:///PATH' and 'postgresql+psycopg://USER:PASSWORD@HOST/NAME'.") from error
        database = cls(_engine(parsed), parsed)
        try:
            database._prepare()
        except BaseException:
            database.close()
            raise
        return database

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Generator[Connection]:
        """One consistent view of the database. Raises StoreError."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction with the write lock: all of it is committed at the end, or nothing. Raises StoreError."""
        with self._writer, self._translated(), self.engine.connect().execution_options(noria_write=True) as connection, connection.begin():
            yield connection

    def check(self) -> None:
        """Read the whole database for corruption. Raises StoreError."""
        with self.read() as connection:
            if not self.is_sqlite:
                connection.execute(text("SELECT 1"))
                return
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if found != "ok":
            raise StoreError(f"{_name(self.url)} is corrupt ({found}). Restore a backup, or move it away and start anew.")

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        with self.read() as connection:
            if current_revision(connection) == HEAD:
                return
        with self.write() as connection:
            migrate(connection)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (sql_errors.SQLAlchemyError, sqlite3.Error, UnicodeEncodeError) as error:
            raise explain(error, self.url) from error


def explain(error: Exception, url: URL) -> NoriaError:
    """What a driver's exception means for the person who runs Noria, and what to do."""
    if isinstance(error, UnicodeEncodeError):
        return DataError(f"A text holds {error.object[error.start]!r}, half of a character pair, which cannot be stored. Send valid UTF-8.")
    if isinstance(error, sql_errors.DataError):
        return DataError(f"The database cannot hold a value: {_first_line(error)}. Remove it and try again.")
    said = str(getattr(error, "orig", None) or error).lower()
    for words, sentence in _SENTENCES:
        if any(word in said for word in words):
            return StoreError(sentence.format(name=_name(url), seconds=f"{BUSY_SECONDS:.0f}"))
    if isinstance(error, sql_errors.OperationalError) and url.get_backend_name() == "postgresql":
        return StoreError(f"Cannot reach {_name(url)}: {_first_line(error)}. Start the server, or correct `database` in `noria.toml`.")
    return StoreError(f"{_name(url)} refused: {_first_line(error)}. Run `noria doctor`.")


_SENTENCES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("is full", "no space left", "disk full"), "The disk of {name} is full; nothing was half-written. Free some space, then do it again."),
    (
        ("is locked", "table is locked", "database is busy"),
        "Another process has kept {name} locked for {seconds} seconds. Stop it (`noria serve`, `noria improve`?), or try again.",
    ),
    (
        ("not a database", "malformed", "file is encrypted"),
        "{name} is corrupt, or no database of Noria. Restore a backup, or move it away and start anew.",
    ),
    (("unable to open",), "{name} cannot be opened. Check that its folder exists and may be written."),
    (("readonly", "read-only"), "{name} may not be written. Check the permissions of the file and its folder."),
    (("disk i/o error",), "The disk of {name} fails. Check the disk, then restore a backup if needed."),
    (("queuepool limit",), "Too many requests use {name} at once. Try again with fewer."),
)


def _name(url: URL) -> str:
    return f"'{url.database}'" if url.get_backend_name() == "sqlite" else f"'{url.render_as_string(hide_password=True)}'"


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0].rstrip(".")[:200]


def _engine(url: URL) -> Engine:
    backend = url.get_backend_name()
    if backend == "postgresql":
        try:
            return create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=24)
        except ModuleNotFoundError as error:
            raise StoreError("PostgreSQL needs the driver psycopg. Run `.venv/bin/pip install -e '.[postgres]'` in the clone of Noria.") from error
    if backend != "sqlite" or url.database in (None, "", ":memory:"):
        raise StoreError(f"'{url.render_as_string()}' cannot hold a project; allowed: 'sqlite:///PATH' and 'postgresql+psycopg://...'.")
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The folder of {_name(url)} cannot be made: {error.strerror}. Name another place.") from error
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=8, max_overflow=56)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _: Any) -> None:
    """The driver begins no transaction by itself (`_begin_sqlite` does), and every connection runs with the same settings."""
    connection.isolation_level = None
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Two processes that make the database at once: the change of the mode ignores the busy timeout.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("noria_write") else "BEGIN")
