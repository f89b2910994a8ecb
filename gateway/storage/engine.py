"""The engine: sync SQLAlchemy for both planes (the gateway calls it from a small thread pool, off the hot path)."""

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from gateway.errors import StorageUnavailable
from gateway.settings import SqlSettings

DEFAULTS = SqlSettings()


def make_engine(url: str, policy: SqlSettings = DEFAULTS) -> Engine:
    """An engine for ``sqlite:///...`` or ``postgresql+psycopg://...``.

    SQLite runs in WAL mode, and every transaction that may write begins with ``BEGIN IMMEDIATE``, so that none fails
    half-way on a lock upgrade (https://www.sqlite.org/lang_transaction.html). Its connections are files that are
    already here: ``sql_pool_recycle``, ``sql_pool_pre_ping``, ``sql_connect_timeout`` and ``sql_statement_timeout`` are
    for servers. Statements' parameters never show in errors: they hold questions, answers and hashes of keys.
    """
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return _sqlite(parsed, policy) if parsed.get_backend_name() == "sqlite" else _server(parsed, policy)


def _sqlite(url: URL, policy: SqlSettings) -> Engine:
    in_file = bool(url.database) and url.database != ":memory:"
    engine = create_engine(
        url,
        connect_args={"timeout": policy.sql_timeout, "check_same_thread": False},
        hide_parameters=True,
        **(_pool(policy) if in_file else {}),
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    if in_file and url.database:
        _WatchedFile(url.database).listen(engine)
    return engine


def _server(url: URL, policy: SqlSettings) -> Engine:
    bounds = {
        "statement_timeout": policy.sql_statement_timeout or policy.sql_timeout,
        "lock_timeout": policy.sql_timeout,
    }
    return create_engine(
        url,
        **_pool(policy),
        pool_pre_ping=policy.sql_pool_pre_ping,
        pool_recycle=policy.sql_pool_recycle,
        hide_parameters=True,
        connect_args={
            "connect_timeout": math.ceil(policy.sql_connect_timeout or policy.sql_timeout),  # whole seconds, 0 is none
            # at least a millisecond: 0 would be no bound at all
            "options": " ".join(f"-c {name}={math.ceil(seconds * 1000)}" for name, seconds in bounds.items()),
        },
    )


def _pool(policy: SqlSettings) -> dict[str, Any]:
    return {
        "pool_size": policy.sql_pool_size,
        "max_overflow": policy.sql_max_overflow,
        "pool_timeout": policy.sql_pool_timeout or policy.sql_timeout,
    }


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    # The commit that fills the log pays for copying it into the file, with fsync: at the default of 1,000 pages that is
    # one in a hundred changes of a document, which shows in their p99.
    cursor.execute("PRAGMA wal_autocheckpoint=8000")
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
