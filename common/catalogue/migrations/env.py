"""Alembic's entry: it runs on the connection `common.catalogue.migrate` opened, inside its lock."""

from alembic import context

from common.catalogue.sql.engine.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
