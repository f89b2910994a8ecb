"""Everything breaks in turn under steady load, briefly; ``make bench`` has the long version."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.bench.processes import is_running, workers
from tests.chaos.stand import WORKERS, Stand, brisk, stand
from tests.chaos.trial import summary, trial
from tests.gateway_stack import until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with stand(tmp_path_factory.mktemp("chaos"), chain=brisk(), sql_timeout=1.0) as running:
        yield running


def test_what_must_hold_holds_while_everything_breaks_in_turn(ready: Stand) -> None:
    verdict = asyncio.run(trial(ready.here, ready.gateway, ready.tenants, ready.faults, seconds=1.0, callers=8))
    assert not verdict.violations, summary(verdict.violations)
    assert verdict.recorded >= verdict.answered > 500


def test_no_worker_outlives_a_parent_that_was_killed(ready: Stand) -> None:
    gateway = ready.here.programs["gateway"]
    pids = workers(gateway.pid)
    assert len(pids) == WORKERS
    gateway.kill()
    until("the workers have ended", lambda: not any(map(is_running, pids)), within=60)
