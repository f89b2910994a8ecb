"""``INSERT ... ON CONFLICT`` for SQLite and PostgreSQL alike: SQLAlchemy has it per dialect only."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from gateway.storage.models import Base


def insert_missing(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows whose primary key is new; leave the others as they are. All rows name the same columns."""
    if rows:
        session.execute(_insert(session, table).on_conflict_do_nothing(), [dict(row) for row in rows])


def insert_or_replace(session: Session, table: type[Base], row: Mapping[str, Any]) -> None:
    """Insert one row, or overwrite the named columns of the row that has its primary key."""
    keys = [column.name for column in table.__table__.primary_key]
    statement = _insert(session, table).values(dict(row))
    changed = {name: statement.excluded[name] for name in row if name not in keys}
    if changed:
        session.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))
    else:
        session.execute(statement.on_conflict_do_nothing())


def _insert(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
