"""Fixtures that several packages share. SQL tests take ``database_url`` or ``engine`` and run on both databases."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.storage.engine import make_engine
from gateway.storage.migrate import migrate
from tests.postgres import PostgresServer, start_postgres, why_unavailable

_numbers = itertools.count()


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves only when told to."""
    return ManualClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server a session, with a migrated database ``ready`` to copy."""
    reason = why_unavailable()
    if reason:
        pytest.skip(reason)
    server = start_postgres()
    try:
        server.execute("CREATE DATABASE ready")
        migrate(server.url("ready"))
        yield server
    finally:
        server.stop()


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


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, on each kind of server in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        yield from _fresh_database(request.getfixturevalue("postgres"), template="template0")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of its own with all tables, on each kind of server in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        yield from _fresh_database(request.getfixturevalue("postgres"), template="ready")


@pytest.fixture
def open_engine() -> Iterator[Callable[..., Engine]]:
    """``make_engine`` whose engines are disposed of after the test."""
    opened: list[Engine] = []

    def open_one(url: str, *, timeout: float = 5.0) -> Engine:
        opened.append(make_engine(url, timeout=timeout))
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.dispose()


@pytest.fixture
def engine(database_url: str, open_engine: Callable[..., Engine]) -> Engine:
    """An engine on a migrated database, SQLite and PostgreSQL in turn."""
    return open_engine(database_url)


def _fresh_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
