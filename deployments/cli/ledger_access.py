"""The ledger as commands reach it: by SQL alone, so that they work with everything else down."""

from typing import TYPE_CHECKING

from deployments.cli.stack_home import connected_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from gateway.settings import Settings


def open_ledger() -> "tuple[Settings, Engine]":
    """Settings of this home and an engine on its ledger. Raises StorageUnavailable when its tables are not there.

    Raises StackError where nothing ever ran.
    """
    from deployments.stack.errors import StackError
    from gateway.errors import StorageUnavailable
    from gateway.storage.engine import make_engine
    from gateway.storage.migrate import schema_is_current

    settings = connected_settings()
    if not settings.database_url and not (settings.home / "ledger.db").exists():
        raise StackError(f"no stack has run in {settings.home}", hint="'promptyard up' starts one.")
    engine = make_engine(settings.sql_url, settings.sql)
    if not schema_is_current(engine):
        raise StorageUnavailable(
            "the ledger's tables are missing or of another version",
            hint="'promptyard up' brings them up to date, and so does 'python -m gateway.storage.migrate'.",
        )
    return settings, engine
