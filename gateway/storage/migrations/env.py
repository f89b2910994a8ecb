"""Run by Alembic. ``gateway.storage.migrate`` hands over an open transaction; from a developer's shell (``alembic
revision --autogenerate``) the URL comes from ``sqlalchemy.url``."""

from alembic import context
from sqlalchemy import Connection

from gateway.storage.engine import make_engine
from gateway.storage.models import Base


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,  # SQLite's DDL is transactional once BEGIN is ours (see make_engine)
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


_given = context.config.attributes.get("connection")
if _given is not None:
    _run(_given)
else:
    with make_engine(context.config.get_main_option("sqlalchemy.url", "")).begin() as _opened:
        _run(_opened)
