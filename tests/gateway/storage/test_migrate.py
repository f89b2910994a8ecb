"""The migrations make exactly what the models say, once, whoever starts first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect

from gateway.errors import StorageUnavailable
from gateway.storage.migrate import migrate, schema_is_current
from gateway.storage.models import Base

OpenEngine = Callable[..., Engine]


def test_migrations_agree_with_the_models(empty_database_url: str, open_engine: OpenEngine) -> None:
    migrate(empty_database_url)
    with open_engine(empty_database_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == set(Base.metadata.tables) | {"alembic_version"}


def test_an_empty_database_is_not_current_a_migrated_one_is(empty_database_url: str, open_engine: OpenEngine) -> None:
    engine = open_engine(empty_database_url)
    assert not schema_is_current(engine)
    migrate(empty_database_url)
    assert schema_is_current(engine)
    migrate(empty_database_url)
    assert schema_is_current(engine)


def test_processes_that_start_at_once_wait_for_each_other(empty_database_url: str, open_engine: OpenEngine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_database_url] * 4))
    assert schema_is_current(open_engine(empty_database_url))


def test_a_new_sqlite_file_gets_its_folder(tmp_path: Path, open_engine: OpenEngine) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'home' / 'ledger.db'}"
    migrate(url)
    assert schema_is_current(open_engine(url))


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="folder"):
        migrate(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")
