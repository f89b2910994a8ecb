"""Fixtures that several packages share.

Tests of SQL take ``database_url`` or ``engine`` and run on both databases; tests of something else that needs SQL take
``ledger_url``; only what is about SQLite takes ``sqlite_url``.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.settings import SqlSettings
from gateway.storage.engine import make_engine
from gateway.storage.migrate import migrate
from gateway.storage.models import Base
from tests.databases import CHOSEN, READY, SQLITE, shared_postgres
from tests.postgres import PostgresServer

_DISCONNECT_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only when told to."""
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> PostgresServer:
    """One server a session, with a migrated database ``ready``."""
    return shared_postgres()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "ready.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A SQLite file of its own with all tables."""
    path = tmp_path / "ledger.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """One Prefect server a session for everything that runs flows or keeps blocks; returns its address."""
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}), prefect_test_harness(120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, on each kind of server in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    server.execute("CREATE DATABASE empty")
    yield server.url("empty")
    server.execute("DROP DATABASE empty WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with all tables and no row, on each kind of server in turn."""
    yield from _ready(request.param, request)


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """As ``database_url``, on the one kind that this run is for: for tests whose subject is something else."""
    yield from _ready(CHOSEN, request)


def _ready(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == SQLITE:
        yield request.getfixturevalue("sqlite_url")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield server.url(READY)
    server.execute(_DISCONNECT_OTHERS, READY)  # a test that failed may have left a lock behind
    emptied = [str(table.delete()) for table in reversed(Base.metadata.sorted_tables)]
    server.execute(";".join(emptied), READY)  # ten times as fast as a new database


@pytest.fixture
def open_engine() -> Iterator[Callable[..., Engine]]:
    """``make_engine`` whose engines are disposed of after the test."""
    opened: list[Engine] = []

    def open_one(url: str, *, timeout: float = 5.0, **policy: Any) -> Engine:
        opened.append(make_engine(url, SqlSettings(sql_timeout=timeout, **policy)))
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.dispose()


@pytest.fixture
def engine(database_url: str, open_engine: Callable[..., Engine]) -> Engine:
    """An engine on a migrated database, SQLite and PostgreSQL in turn."""
    return open_engine(database_url)
