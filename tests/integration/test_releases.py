"""Three releases by users through HTTP: one does harm, one is good, and one meets an outage of every provider."""

from pathlib import Path

from gateway.settings import ChainSettings
from tasks.releases.stages import Stage
from tests.bench.release_stand import QUICK, release_stand
from tests.bench.release_trials import ALL_DOWN, FAILS, Trials, good, harmful, under_outage

CANARY = {**QUICK, "steps": [50]}
MOST_WAVES = 8
SOON = ChainSettings.model_validate({"breaker_cooldown": 0.2, "breaker_failures": 3})


def test_users_decide_over_releases(tmp_path: Path) -> None:
    with release_stand(tmp_path, chain=SOON) as stand:
        stand.faults(FAILS)
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
