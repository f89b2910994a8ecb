import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine

from deployments.stack.prepare_database import KEY_NAME, ensure_key
from gateway.auth.keys import SCOPES, hash_key, list_keys, revoke_key
from gateway.clock import ManualClock


def test_the_first_start_makes_a_key_that_only_the_owner_reads(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert ensure_key(engine, ManualClock(), "default", file)
    [row] = list_keys(engine, "default")
    assert (row.name, sorted(row.scopes), row.hash) == (KEY_NAME, sorted(SCOPES), hash_key(file.read_text().strip()))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_later_starts_keep_it(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "key"
    ensure_key(engine, ManualClock(), "default", file)
    before = file.read_text()
    assert not ensure_key(engine, ManualClock(), "default", file)
    assert file.read_text() == before
    assert len(list_keys(engine, "default")) == 1


@pytest.mark.parametrize("what", ["lost", "foreign", "revoked"])
def test_a_key_that_does_not_work_is_replaced(engine: Engine, tmp_path: Path, what: str) -> None:
    file = tmp_path / "key"
    ensure_key(engine, ManualClock(), "default", file)
    before = file.read_text()
    if what == "lost":
        file.unlink()
    elif what == "foreign":
        file.write_text("py_of_another_database")
        file.chmod(0o644)
    else:
        revoke_key(engine, ManualClock(), list_keys(engine, "default")[0].id)
    assert ensure_key(engine, ManualClock(), "default", file)
    assert file.read_text() != before
    assert hash_key(file.read_text().strip()) in {row.hash for row in list_keys(engine) if row.revoked_at is None}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
