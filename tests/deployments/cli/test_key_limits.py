"""``promptyard keys``: limits are given once, shown ever after; a name revokes."""

import json

import pytest

from gateway.errors import Conflict, InvalidRequest
from tests.deployments.cli.conftest import Promptyard

LIMITED = ("--requests-per-minute", "60", "--tokens-per-minute", "100000", "--daily-budget", "2.5")
KEPT = {"requests_per_minute": 60, "tokens_per_minute": 100_000, "daily_budget_usd": 2.5}


def test_limits_are_kept_and_listed(promptyard: Promptyard) -> None:
    made = promptyard("keys", "create", "shop", *LIMITED)
    assert "60 requests/min, 100,000 tokens/min, $2.50/day" in made.stderr
    assert json.loads(promptyard("keys", "create", "free", "--json").stdout)["limits"] == {}
    listed = {row["name"]: row["limits"] for row in json.loads(promptyard("keys", "list", "--json").stdout)}
    assert listed == {"shop": KEPT, "free": {}}
    table = promptyard("keys", "list", COLUMNS="200").stdout
    assert "60 requests/min, 100,000 tokens/min, $2.50/day" in table
    assert "none" in next(line for line in table.splitlines() if "free" in line)


def test_json_says_the_limits(promptyard: Promptyard) -> None:
    assert json.loads(promptyard("keys", "create", "shop", *LIMITED, "--json").stdout)["limits"] == KEPT


@pytest.mark.parametrize("wrong", [("--requests-per-minute", "0"), ("--daily-budget", "-1"), ("--daily-budget", "nan")])
def test_impossible_limits_make_no_key(wrong: tuple[str, str], promptyard: Promptyard) -> None:
    assert isinstance(promptyard("keys", "create", "shop", *wrong).exception, InvalidRequest)
    assert json.loads(promptyard("keys", "list", "--json").stdout) == []


def test_a_tenant_of_an_impossible_name_gets_no_key(promptyard: Promptyard) -> None:
    assert isinstance(promptyard("keys", "create", "shop", "--tenant", "a/b").exception, InvalidRequest)


def test_a_name_revokes_while_it_says_which(promptyard: Promptyard) -> None:
    made = json.loads(promptyard("keys", "create", "shop", "--json").stdout)
    assert made["id"] in promptyard("keys", "revoke", "shop").stdout
    for _ in range(2):
        promptyard("keys", "create", "shop")
    assert isinstance(promptyard("keys", "revoke", "shop").exception, Conflict)
