"""Alembic's scripts: each file of `versions` is one change of the tables, newest last. `noria.store.migrate` runs them."""
