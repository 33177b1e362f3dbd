"""Bring a database to the newest tables, inside the transaction of the connection it is given.

The connection must hold the write lock, so that of two processes that open a new database at once one migrates and the other finds it done.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from noria.errors import StoreError

HEAD = "0002"
"""The newest revision; compared with the one in the database so that Alembic is loaded only when there is work."""
_LOCK_KEY = 0x6E6F7269


def current_revision(connection: Connection) -> str | None:
    """The revision the database is at, None for one without tables. Raises StoreError for a database that is not Noria's."""
    names = set(inspect(connection).get_table_names())
    if "alembic_version" not in names:
        if {"conversations", "turns"} & names:
            raise StoreError("The database has tables of these names that are not Noria's. Name another one as `database` in `noria.toml`.")
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(connection: Connection, to: str = HEAD) -> None:
    """Run every migration up to `to`. Raises StoreError for a database that a newer Noria wrote."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    revision = current_revision(connection)
    if revision == to:
        return
    if revision is not None and revision > HEAD:
        raise StoreError(
            f"The database is at revision {revision!r}, this Noria knows up to {HEAD!r}. Run `git pull` and `make install` in the clone of Noria."
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
