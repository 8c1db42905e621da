"""Run by Alembic with the connection and the transaction of ``upgrading.upgrade``; never opens one itself."""

from alembic import context
from locum.db.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="locum_alembic_version",
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
