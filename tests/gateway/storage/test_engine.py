"""What a transaction promises on both databases, and what it raises when they cannot keep it."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.errors import StorageUnavailable
from gateway.settings import SqlSettings
from gateway.storage.engine import make_engine, reading, writing
from gateway.storage.models import ApiKeyRow, CallRow, PromptRow
from gateway.storage.upsert import insert_missing, insert_or_replace
from tests.postgres import PostgresServer

OpenEngine = Callable[..., Engine]


def _prompt(name: str, production: str = "1.0.0") -> dict[str, object]:
    return {
        "tenant": "acme", "name": name, "production": production, "previous": "", "revision": 1, "updated_at": 1.0,
    }  # fmt: skip


def _productions(engine: Engine) -> dict[str, str]:
    with reading(engine) as session:
        return {row.name: row.production for row in session.scalars(select(PromptRow))}


def test_a_failed_transaction_changes_nothing(engine: Engine) -> None:
    with contextlib.suppress(RuntimeError), writing(engine) as session:
        session.add(PromptRow(**_prompt("a")))
        session.flush()
        raise RuntimeError
    assert _productions(engine) == {}


def test_insert_missing_leaves_what_is_there(engine: Engine) -> None:
    with writing(engine) as session:
        insert_missing(session, PromptRow, [_prompt("a", "1.0.0")])
    with writing(engine) as session:
        insert_missing(session, PromptRow, [_prompt("a", "2.0.0"), _prompt("b", "2.0.0")])
        insert_missing(session, PromptRow, [])
    assert _productions(engine) == {"a": "1.0.0", "b": "2.0.0"}


def test_insert_or_replace_overwrites_what_it_names(engine: Engine) -> None:
    for version in ("1.0.0", "2.0.0"):
        with writing(engine) as session:
            insert_or_replace(session, PromptRow, _prompt("a", version))
    assert _productions(engine) == {"a": "2.0.0"}


def test_a_broken_constraint_is_not_an_outage_and_shows_no_value(engine: Engine) -> None:
    def key(identity: str) -> ApiKeyRow:
        return ApiKeyRow(id=identity, tenant="acme", name="n", hash="hash-of-a-key", prefix="py_", created_at=1.0)

    with writing(engine) as session:
        session.add(key("k1"))
    with pytest.raises(IntegrityError) as caught, writing(engine) as session:
        session.add(key("k2"))
    assert "k2" not in str(caught.value)


@pytest.mark.integration
def test_a_value_that_does_not_fit_is_not_an_outage(database_url: str, open_engine: OpenEngine) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("SQLite takes any length")
    with pytest.raises(DBAPIError) as caught, writing(open_engine(database_url)) as session:
        session.add(PromptRow(**_prompt("x" * 500)))
    assert not isinstance(caught.value, StorageUnavailable)


def test_a_locked_sqlite_file_is_an_outage_for_writers_and_none_for_readers(
    sqlite_url: str, open_engine: OpenEngine
) -> None:
    engine = open_engine(sqlite_url, timeout=0.05)
    blocker = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable), writing(engine) as session:
        session.add(PromptRow(**_prompt("a")))
    assert _productions(engine) == {}
    blocker.close()
    with writing(engine) as session:
        session.add(PromptRow(**_prompt("a")))
    assert set(_productions(engine)) == {"a"}


def test_a_removed_sqlite_file_is_noticed_and_not_made_anew(sqlite_url: str, open_engine: OpenEngine) -> None:
    engine = open_engine(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with writing(engine) as session:
        session.add(PromptRow(**_prompt("a")))
    path.unlink()
    for _ in range(2):
        with pytest.raises(StorageUnavailable), writing(engine) as session:
            session.add(PromptRow(**_prompt("b")))
    assert not path.exists()


def test_a_replaced_sqlite_file_is_used(
    sqlite_url: str, migrated_sqlite: Path, tmp_path: Path, open_engine: OpenEngine
) -> None:
    engine = open_engine(sqlite_url)
    with writing(engine) as session:
        session.add(PromptRow(**_prompt("a")))
    shutil.copy(migrated_sqlite, tmp_path / "other.db")
    (tmp_path / "other.db").rename(sqlite_url.removeprefix("sqlite:///"))
    with writing(engine) as session:
        session.add(PromptRow(**_prompt("b")))
    assert "b" in _productions(open_engine(sqlite_url))


def test_an_unreachable_server_is_an_outage() -> None:
    engine = make_engine("postgresql://nobody:secret@127.0.0.1:1/none", SqlSettings(sql_connect_timeout=1))
    with pytest.raises(StorageUnavailable) as caught, reading(engine) as session:
        session.execute(text("SELECT 1"))
    assert "secret" not in repr(caught.value)
    engine.dispose()


def test_a_full_pool_is_an_outage_after_its_time_out(database_url: str, open_engine: OpenEngine) -> None:
    engine = open_engine(database_url, sql_pool_size=1, sql_max_overflow=1, sql_pool_timeout=0.01)
    with reading(engine), reading(engine), pytest.raises(StorageUnavailable, match="free in time"), reading(engine):
        pass
    with reading(engine) as session:
        assert session.scalar(text("SELECT 1")) == 1


@pytest.mark.integration
def test_a_statement_on_a_server_ends_in_time(postgres: PostgresServer, open_engine: OpenEngine) -> None:
    engine = open_engine(postgres.url("ready"), sql_statement_timeout=0.02)
    with pytest.raises(StorageUnavailable), reading(engine) as session:
        session.execute(text("SELECT pg_sleep(10)"))


@pytest.mark.integration
@pytest.mark.parametrize("ping", [True, False])
def test_a_lost_connection_is_noticed_by_asking(postgres: PostgresServer, open_engine: OpenEngine, ping: bool) -> None:
    engine = open_engine(postgres.url("ready"), sql_pool_pre_ping=ping)
    postgres.execute(f"SELECT pg_terminate_backend({_backend(engine)})")
    if ping:
        assert _backend(engine)
    else:
        with pytest.raises(StorageUnavailable):
            _backend(engine)


@pytest.mark.integration
@pytest.mark.parametrize(("seconds", "same"), [(60.0, True), (1e-6, False)])
def test_an_old_connection_is_made_anew(
    postgres: PostgresServer, open_engine: OpenEngine, seconds: float, same: bool
) -> None:
    engine = open_engine(postgres.url("ready"), sql_pool_recycle=seconds)
    assert (_backend(engine) == _backend(engine)) is same


def _backend(engine: Engine) -> int:
    with reading(engine) as session:
        return session.execute(text("SELECT pg_backend_pid()")).scalar_one()


def test_money_comes_back_as_it_went_in(engine: Engine) -> None:
    with writing(engine) as session:
        session.add(
            CallRow(id="c1", tenant="t", origin="live", started_at=1.0, latency_ms=1.0, status="ok",
                    cost_usd=Decimal("0.0000123457"), variables=None)
        )  # fmt: skip
    with reading(engine) as session:
        assert session.scalar(select(CallRow.cost_usd)) == Decimal("0.0000123457")
        assert session.scalar(select(CallRow.id).where(CallRow.variables.is_(None))) == "c1"
