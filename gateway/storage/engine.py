"""The engine: sync SQLAlchemy for both planes (the gateway calls it from a small thread pool, off the hot path)."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from gateway.errors import StorageUnavailable


def make_engine(url: str, *, timeout: float = 5.0, pool_size: int = 5) -> Engine:
    """An engine for ``sqlite:///...`` or ``postgresql+psycopg://...``.

    ``timeout`` (seconds) bounds the wait for a lock, a connection and, on PostgreSQL, a statement. SQLite runs in WAL
    mode, and every transaction that may write begins with ``BEGIN IMMEDIATE``, so that none fails half-way on a lock
    upgrade (https://www.sqlite.org/lang_transaction.html). Statements' parameters never show in errors: they hold
    questions, answers and hashes of keys.
    """
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite":
        in_file = bool(parsed.database) and parsed.database != ":memory:"
        engine = create_engine(
            parsed,
            connect_args={"timeout": timeout, "check_same_thread": False},
            hide_parameters=True,
            **({"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": timeout} if in_file else {}),
        )
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if in_file and parsed.database:
            _WatchedFile(parsed.database).listen(engine)
        return engine
    options = f"-c statement_timeout={int(timeout * 1000)} -c lock_timeout={int(timeout * 1000)}"
    return create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=timeout,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,
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


class _WatchedFile:
    """A SQLite file that must stay the one it was.

    A pooled connection to a file that was removed or replaced would commit into the void and say that it did, and a new
    connection would quietly make an empty database in its place.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen = False

    def listen(self, engine: Engine) -> None:
        event.listen(engine, "do_connect", self._refuse_to_make_another)
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "checkout", self._refuse_other_file)

    def _refuse_to_make_another(self, *_: Any) -> None:
        if self._seen and _inode(self._path) is None:
            raise sqlite3.OperationalError("the SQLite file was removed")

    def _remember(self, _connection: Any, record: Any) -> None:
        record.info["inode"] = _inode(self._path)
        self._seen = True

    def _refuse_other_file(self, _connection: Any, record: Any, _proxy: Any) -> None:
        if record.info.get("inode") != _inode(self._path):
            raise DisconnectionError("the SQLite file was removed or replaced")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One transaction.

    Raises StorageUnavailable when SQL cannot be reached or stays locked. What is wrong with the values themselves
    (``IntegrityError``, ``DataError``) or with the statement (``ProgrammingError``) is raised as it is.
    """
    with _translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One consistent read; takes no write lock. Raises as ``writing`` does."""
    with _translated(), engine.connect().execution_options(promptyard_read_only=True) as connection:  # noqa: SIM117
        with Session(connection, expire_on_commit=False) as session:
            yield session


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, ProgrammingError, DataError):
        raise
    except PoolTimeout as error:
        raise StorageUnavailable("no SQL connection became free in time") from error
    except DisconnectionError as error:
        raise StorageUnavailable("SQL connections were lost") from error
    except DBAPIError as error:
        raise StorageUnavailable(f"SQL did not answer: {type(error.orig).__name__}") from error
