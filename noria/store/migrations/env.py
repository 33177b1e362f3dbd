"""Runs the migrations on the connection that `noria.store.migrate` hands over, inside its transaction."""

from alembic import context

from noria.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transaction_per_migration=False)
context.run_migrations()
