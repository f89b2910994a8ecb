"""The engine: sync SQLAlchemy for both planes (the gateway calls it from a small thread pool, off the hot path)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from gateway.errors import StorageUnavailable


def make_engine(url: str, *, timeout: float = 5.0, pool_size: int = 5) -> Engine:
    """An engine for ``sqlite:///...`` or ``postgresql+psycopg://...``.

    ``timeout`` (seconds) bounds the wait for a lock, a connection and, on PostgreSQL, a statement. SQLite runs in WAL
    mode, and every transaction that may write begins with ``BEGIN IMMEDIATE``, so that none fails half-way on a lock
    upgrade (https://www.sqlite.org/lang_transaction.html).
    """
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": timeout, "check_same_thread": False})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = f"-c statement_timeout={int(timeout * 1000)} -c lock_timeout={int(timeout * 1000)}"
    return create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": max(1, int(timeout)), "options": options},
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    read_only = connection.get_execution_options().get("promptyard_read_only", False)
    connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction. Raises StorageUnavailable when SQL cannot be reached or stays locked."""
    with _translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One consistent read; takes no write lock. Raises StorageUnavailable when SQL cannot be reached."""
    with _translated(), engine.connect().execution_options(promptyard_read_only=True) as connection:  # noqa: SIM117
        with Session(connection, expire_on_commit=False) as session:
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except PoolTimeout as error:
        raise StorageUnavailable("no SQL connection became free in time") from error
    except DBAPIError as error:
        raise StorageUnavailable(f"SQL did not answer: {type(error.orig).__name__}") from error
