"""Databases for tests of the kind that this run is for: SQLite, or what ``PROMPTYARD_TEST_DATABASE`` names.

Tests whose subject is SQL run on both kinds in any case (``database_url`` and ``engine`` in ``conftest.py``). All
others take one database from here: ``PROMPTYARD_TEST_DATABASE=postgresql make test`` runs them on a server.
"""

import atexit
import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gateway.storage.migrate import migrate
from tests.postgres import PostgresServer, start_postgres, why_unavailable

SQLITE, POSTGRESQL = "sqlite", "postgresql"
CHOSEN = os.environ.get("PROMPTYARD_TEST_DATABASE", SQLITE)
READY = "ready"
"""The server's database with all tables, which every test leaves without a row."""
_NUMBERS = itertools.count(1)
_DISCONNECT_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"

assert CHOSEN in (SQLITE, POSTGRESQL), f"PROMPTYARD_TEST_DATABASE is {SQLITE} or {POSTGRESQL}, not {CHOSEN!r}"


@lru_cache(maxsize=1)
def shared_postgres() -> PostgresServer:
    """One server a process, ended with it. Skips the test where none can be started."""
    reason = why_unavailable()
    if reason:
        pytest.skip(reason)
    server = start_postgres()
    atexit.register(server.stop)
    server.execute(f"CREATE DATABASE {READY}")
    migrate(server.url(READY))
    return server


def new_database(folder: Path, name: str = "ledger", *, kind: str = CHOSEN) -> str:
    """A database with all tables: ``<folder>/<name>.db``, or one of the server's that lasts as long as it."""
    if kind == SQLITE:
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / name}.db"
        migrate(url)
        return url
    return _on_server("template1", empty=True)


def copy_of(url: str, folder: Path, name: str) -> str:
    """Another database with the same rows. Nobody may be using the first."""
    if url.startswith("sqlite"):
        path = folder / f"{name}.db"
        shutil.copy(url.removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"
    return _on_server(str(make_url(url).database))


def drop(url: str) -> None:
    """Remove a database that ``new_database`` or ``copy_of`` made, whoever still uses it."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
    else:
        shared_postgres().execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")


def _on_server(template: str, *, empty: bool = False) -> str:
    server, name = shared_postgres(), f"own_{next(_NUMBERS)}"
    server.execute(_DISCONNECT_OTHERS.format(template))
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    if empty:
        migrate(server.url(name))
    return server.url(name)


@contextmanager
def out_of_reach(url: str) -> Iterator[None]:
    """SQL as if it were down: the file is not where it was, the server's database lets nobody in."""
    if url.startswith(SQLITE):
        path = Path(url.removeprefix("sqlite:///"))
        path.rename(path.with_suffix(".away"))
        try:
            yield
        finally:
            path.with_suffix(".away").rename(path)
        return
    name, server = make_url(url).database, shared_postgres()
    server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server.execute(_DISCONNECT_OTHERS.format(name))
    try:
        yield
    finally:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
