import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli.main import build
from gateway.auth.keys import hash_key, list_keys
from gateway.errors import InvalidRequest, NotFound, StorageUnavailable
from gateway.storage.engine import make_engine

Keys = Callable[..., Result]


@pytest.fixture
def keys(ledger_url: str, tmp_path: Path) -> Keys:
    environ = {"PROMPTYARD_HOME": str(tmp_path), "PROMPTYARD_DATABASE_URL": ledger_url}

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(build(), ["keys", *arguments], env=environ)

    return call


def test_a_key_is_shown_once_and_kept_as_its_hash(keys: Keys, ledger_url: str) -> None:
    made = json.loads(keys("create", "shop", "--scope", "chat", "--json").stdout)
    [row] = list_keys(make_engine(ledger_url))
    assert row.hash == hash_key(made["key"])
    assert made["scopes"] == ["chat"]
    assert made["key"] not in keys("list").stdout + keys("list", "--json").stdout


def test_plain_output_is_the_key_alone(keys: Keys) -> None:
    result = keys("create", "shop")
    assert result.stdout.strip().startswith("py_")
    assert len(result.stdout.split()) == 1
    assert "not shown again" in result.stderr


def test_a_revoked_key_is_listed_as_such(keys: Keys) -> None:
    made = json.loads(keys("create", "shop", "--json").stdout)
    assert keys("revoke", made["id"]).exit_code == 0
    [listed] = json.loads(keys("list", "--json").stdout)
    assert listed["revoked_at"] is not None
    assert "revoked" in keys("list").stdout


def test_each_tenant_sees_its_own(keys: Keys) -> None:
    made = json.loads(keys("create", "shop", "--tenant", "acme", "--json").stdout)
    assert json.loads(keys("list", "--json").stdout) == []
    assert isinstance(keys("revoke", made["id"]).exception, NotFound)
    assert [row["id"] for row in json.loads(keys("list", "--tenant", "acme", "--json").stdout)] == [made["id"]]


def test_an_unknown_scope_makes_no_key(keys: Keys) -> None:
    assert isinstance(keys("create", "shop", "--scope", "everything").exception, InvalidRequest)
    assert json.loads(keys("list", "--json").stdout) == []


def test_without_tables_the_hint_says_how_to_get_them(tmp_path: Path) -> None:
    environ = {"PROMPTYARD_HOME": str(tmp_path), "PROMPTYARD_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"}
    error = CliRunner().invoke(build(), ["keys", "list"], env=environ).exception
    assert isinstance(error, StorageUnavailable)
    assert "promptyard up" in error.hint


def test_no_scope_is_cut_at_80_columns(ledger_url: str, tmp_path: Path) -> None:
    scopes = ("chat", "feedback", "tools", "documents:read", "documents:write")
    environ = {"PROMPTYARD_HOME": str(tmp_path), "PROMPTYARD_DATABASE_URL": ledger_url, "COLUMNS": "80"}
    named = [word for scope in scopes for word in ("--scope", scope)]
    limits = ["--requests-per-minute", "600", "--tokens-per-minute", "200000", "--daily-budget", "20"]
    run = CliRunner()
    made = run.invoke(build(), ["keys", "create", "a-shop-with-a-long-name", *named, *limits, "--json"], env=environ)
    shown = run.invoke(build(), ["keys", "list"], env=environ).stdout
    assert all(scope in shown for scope in scopes)
    assert json.loads(made.stdout)["id"] in shown
    assert "$20.00/day" in shown
    assert "active" in shown
    assert max(map(len, shown.splitlines())) <= 80
