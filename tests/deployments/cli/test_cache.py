import pytest
from sqlalchemy import Engine

from deployments.cli.cache import as_plain, said
from gateway.errors import InvalidRequest, StorageUnavailable
from tasks.cache_scope import CacheScope
from tasks.invalidation import Reason, Survey
from tests.deployments.cli.conftest import Promptyard


@pytest.mark.parametrize(
    "arguments",
    [("--version", "1.0.0"), ("--all", "--prompt", "p"), ("--all", "--document", "c/d"), ("--document", "no-slash")],
)
def test_a_scope_that_cannot_be_is_refused(promptyard: Promptyard, ledger: Engine, arguments: tuple[str, ...]) -> None:
    refused = promptyard("cache", "invalidate", *arguments)
    assert isinstance(refused.exception, InvalidRequest)
    assert "go through" not in refused.output, "before any stage begins"


@pytest.mark.integration
def test_without_redis_it_says_so(promptyard: Promptyard, ledger: Engine) -> None:
    assert isinstance(promptyard("cache", "invalidate", "--dry-run").exception, StorageUnavailable)


SURVEY = Survey(
    dry_run=True,
    seen=10,
    seen_bytes=9_000,
    entries={Reason.EXPIRED: 2, Reason.INACTIVE: 1},
    sizes={Reason.EXPIRED: 2_000, Reason.INACTIVE: 500},
    probed=5,
    stale=("entry: doc:c/d@1",),
)


def test_a_dry_run_says_what_would_go_and_why() -> None:
    assert said(SURVEY) == [
        "3 of 10 answers would go (2.5 kB).",
        "  expired: 2",
        "  version is not active: 1",
        "5 of the others held against their documents: 1 stale.",
    ]


def test_for_machines() -> None:
    plain = as_plain(CacheScope("default", "help"), SURVEY)
    assert (plain["prompt"], plain["version"], plain["dry_run"], plain["removed"]) == ("help", None, True, 0)
    assert plain["entries"] == {"expired": 2, "version is not active": 1}
