"""Brings SQL to the current schema and makes the first API key: ``python -m deployments.stack.prepare_database``."""

import os
import sys
from pathlib import Path

from sqlalchemy import Engine

from deployments.stack.home import StackHome
from gateway.auth.keys import SCOPES, create_key, hash_key, list_keys
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from gateway.storage.engine import make_engine
from gateway.storage.migrate import migrate

KEY_NAME = "default"


def ensure_key(engine: Engine, clock: Clock, tenant: str, file: Path) -> bool:
    """Make sure that ``file`` (mode 0600) holds a key that works; True when a new one was made."""
    hashes = {row.hash for row in list_keys(engine, tenant) if row.revoked_at is None}
    if file.exists() and hash_key(file.read_text().strip()) in hashes:
        return False
    plain, _row = create_key(engine, clock, tenant, KEY_NAME, sorted(SCOPES))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        os.fchmod(descriptor, 0o600)
        output.write(plain + "\n")
    return True


def main() -> int:
    settings = Settings()
    migrate(settings.sql_url)
    home = StackHome.at(settings.home)
    made = ensure_key(make_engine(settings.sql_url, settings.sql), SystemClock(), settings.tenant, home.key_file)
    print(f"schema is current; key {'made' if made else 'kept'}: {home.key_file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
