"""Releases by users through HTTP: what does harm goes, what is good stays, an outage decides nothing, a rollback is
everywhere when it returns."""

import asyncio
from collections.abc import Iterator

import pytest

from gateway.settings import ChainSettings
from tasks.releases.stages import Stage
from tests.bench.release_stand import QUICK, ReleaseStand, release_stand
from tests.bench.release_trials import ALL_DOWN, FAILS, Trials, good, harmful, under_outage
from tests.bench.rollback import prepare, rollbacks, with_one_stopped

GATEWAYS = 2
CANARY = {**QUICK, "steps": [50], "margin": 0.2}
MOST_WAVES = 8
SOON = ChainSettings.model_validate({"breaker_cooldown": 0.2, "breaker_failures": 3})
CLEARLY = 0.3
"""The share of calls that fail: in one of 200 runs a fifth of them takes more than 120 users to be sure of."""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReleaseStand]:
    with release_stand(tmp_path_factory.mktemp("releases"), gateways=GATEWAYS, chain=SOON) as running:
        yield running


def test_users_decide_over_releases(stand: ReleaseStand) -> None:
    stand.faults(FAILS | {"error_rate": CLEARLY})
    compared = Trials(stand, [harmful(0), good(0)], canary=CANARY)
    compared.waves(MOST_WAVES)
    outage = Trials(stand, [under_outage("every-provider-down")], canary=CANARY)
    stand.faults(ALL_DOWN)
    outage.waves(2)
    assert outage.runs[0].open, "an outage is no reason for a verdict"
    outage.close()
    stand.faults()
    results = compared.results() + outage.results()
    assert [line for one in results for line in one.violations] == []
    assert [one.stage for one in results] == [Stage.ROLLED_BACK, Stage.PROMOTED, Stage.INCONCLUSIVE]


def test_a_rollback_that_has_returned_is_everywhere(stand: ReleaseStand) -> None:
    prepare(stand)
    rounds, _ = asyncio.run(rollbacks(stand, 4, 0.1))
    assert {(one.publication.verified, one.publication.live) for one in rounds} == {(True, GATEWAYS)}
    stopped = asyncio.run(with_one_stopped(stand))
    assert min(one.asked_afterwards for one in [*rounds, stopped]) > 0
    assert [one.old_afterwards for one in [*rounds, stopped]] == [0] * 5
