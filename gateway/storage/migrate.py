"""Bring a database to the newest schema: ``python -m gateway.storage.migrate``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, make_url, text

from gateway.errors import StorageUnavailable
from gateway.settings import Settings, SqlSettings
from gateway.storage.engine import make_engine, reading, writing
from gateway.storage.file_lock import FileLock

_ADVISORY_LOCK = 0x70796172  # any number that no other program on the server is likely to take: "pyar"
_PATIENT = SqlSettings(sql_timeout=60.0, sql_pool_size=1, sql_max_overflow=0)


def migrate(url: str) -> None:
    """Upgrade to the newest revision, in one transaction. Processes that start at once wait for each other.

    Creates a SQLite file and its folder. Raises StorageUnavailable when SQL cannot be reached.
    """
    parsed = make_url(url)
    try:
        with _alone_on_file(parsed):
            engine = make_engine(url, _PATIENT)
            try:
                with writing(engine) as session:
                    _upgrade(session.connection())
            finally:
                engine.dispose()
    except OSError as error:
        raise StorageUnavailable(f"the SQLite file's folder cannot be used: {error.strerror}") from error


def schema_is_current(engine: Engine) -> bool:
    """Whether the database is at the newest revision. Raises StorageUnavailable when SQL cannot be reached."""
    with reading(engine) as session:
        current = MigrationContext.configure(session.connection()).get_current_revision()
    return current is not None and current == ScriptDirectory.from_config(alembic_config()).get_current_head()


def alembic_config() -> Config:
    """Alembic's configuration without a file, so that it works from an installed package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _alone_on_file(url: URL) -> Iterator[None]:
    """SQLite switches a new file to WAL without waiting for others: two at once would see "database is locked"."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock.acquire(path.with_name(path.name + ".migrate-lock"), wait=True)
    try:
        yield
    finally:
        if lock:
            lock.release()


if __name__ == "__main__":
    migrate(Settings().sql_url)
