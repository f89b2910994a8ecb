"""From an experiment to production: on a claim, or on somebody's word, and as a release in every other respect."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.clock import ManualClock
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.prompts.splits import Policy
from gateway.storage.engine import reading
from tasks.certificates.promise import promise
from tasks.experiments.history import steps_of
from tasks.experiments.options import ExperimentOptions
from tasks.experiments.promotion import NotShownBetter, promote
from tasks.experiments.store import ExperimentInProgress
from tasks.experiments.weights import start_experiment
from tasks.releases import store
from tasks.releases.owed import Owed, unsettled
from tasks.releases.replay import replay
from tests.tasks.experiments.trial import Trial, by_version
from tests.tasks.releases.yard import Yard

BETTER = by_version({"1.0.0": 0.6, "1.1.0": 0.8})
EQUAL = by_version({"1.0.0": 0.7, "1.1.0": 0.7})


def production(yard: Yard) -> tuple[str, str]:
    row = store.get_prompt(yard.engine, "acme", "help")
    return row.production, row.previous


def test_what_the_e_process_calls_better_is_promoted_like_any_release(yard: Yard) -> None:
    trial = Trial(yard, Policy.BANDIT, ["1.0.0", "1.1.0"])
    trial.play(12, 80, BETTER)
    assert production(yard) == ("1.0.0", ""), "the bandit promotes nobody"
    done = promote(yard.engine, yard.clock, experiment_id=trial.row.id, version="1.1.0", author="Ada")
    assert production(yard) == ("1.1.0", "1.0.0")
    assert "promoted by Ada from experiment" in done.reason
    assert "1.1.0 is better than 1.0.0" in done.reason
    row = trial.stored()
    assert (row.stage, row.reason) == ("finished", done.reason)
    assert yard.weights() == {"1.1.0": 10_000}
    assert done.table == yard.routing()
    assert [one.owed for one in unsettled(yard.engine, yard.clock, done.release.id)] == [Owed.WARM]
    with reading(yard.engine) as session:
        assert steps_of(session, row.id)[-1].evidence["release"] == done.release.id
    assert replay(yard.engine, done.release.id).holds
    promised = promise(store.get_release(yard.engine, done.release.id), by_hand=False, decided=False)
    assert (promised["bound"], trial.row.id in promised["in_words"]) == (None, True)
    back, _, _ = store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help")
    assert back == "1.0.0"


def test_a_bandits_favourite_is_not_promoted_without_the_claim(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.BANDIT, ["1.0.0", "1.1.0"])
    trial.play(2, 60, EQUAL)
    with pytest.raises(NotShownBetter, match="not yet decided") as refused:
        promote(small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version="1.1.0", author="Ada")
    assert "--force --by" in refused.value.hint
    assert (production(small_yard), trial.stored().stage) == (("1.0.0", ""), "open")


def test_by_force_somebody_answers_for_it(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"])
    trial.play(1, 20, EQUAL)
    with pytest.raises(InvalidRequest, match="somebody who answers"):
        promote(small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version="1.1.0", force=True)
    done = promote(
        small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version="1.1.0", author="Ada", force=True
    )
    assert production(small_yard)[0] == "1.1.0"
    assert done.reason.startswith("promoted by Ada in spite of it: 1.1.0 beside 1.0.0: not yet decided")
    assert done.release.approved_by == "Ada"


def test_a_finished_test_can_be_promoted_from_later_unless_production_has_moved(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"])
    trial.play(30, 60, BETTER)
    assert trial.stored().stage == "finished"
    small_yard.promote("1.2.0")
    with pytest.raises(Conflict, match=r"1\.2\.0 is in production by now, not 1\.0\.0"):
        promote(small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version="1.1.0")
    store.roll_back(small_yard.engine, small_yard.clock, tenant="acme", prompt="help")
    promote(small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version="1.1.0")
    assert production(small_yard)[0] == "1.1.0"


@pytest.mark.parametrize(("version", "error"), [("9.9.9", NotFound), ("1.0.0", InvalidRequest)])
def test_only_an_arm_beside_the_baseline_can_be_promoted(
    small_yard: Yard, version: str, error: type[Exception]
) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"])
    with pytest.raises(error):
        promote(small_yard.engine, small_yard.clock, experiment_id=trial.row.id, version=version)


def test_an_earlier_test_is_not_promoted_from_beside_the_next_one(yard: Yard) -> None:
    """The next one would compare with what does not serve any more, and keep the prompt closed until it ends."""
    trial = Trial(yard, Policy.AB, ["1.0.0", "1.1.0"])
    trial.play(30, 60, BETTER)
    yard.register("1.2.0")
    following, _ = start_experiment(
        yard.engine,
        yard.clock,
        tenant="acme",
        prompt="help",
        policy=Policy.AB,
        versions=["1.0.0", "1.2.0"],
        shares=[1, 1],
        options=ExperimentOptions(),
    )
    with pytest.raises(ExperimentInProgress, match=following.id):
        promote(yard.engine, yard.clock, experiment_id=trial.row.id, version="1.1.0")
    assert (production(yard)[0], yard.weights()) == ("1.0.0", {"1.0.0": 5_000, "1.2.0": 5_000})


@dataclass
class Interrupted:
    """A clock that lets somebody act when it is first asked."""

    clock: ManualClock
    act: Callable[[], object]
    asked: bool = False

    def now(self) -> float:
        if not self.asked:
            self.asked = True
            self.act()
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.monotonic()


@pytest.mark.parametrize("force", [False, True])
def test_whoever_rolls_back_meanwhile_is_not_overruled(small_yard: Yard, force: bool) -> None:
    trial = Trial(small_yard, Policy.BANDIT, ["1.0.0", "1.1.0"])
    trial.play(12, 80, BETTER)

    def roll_back() -> None:
        store.roll_back(small_yard.engine, small_yard.clock, tenant="acme", prompt="help", actor="Bob")

    clock = Interrupted(small_yard.clock, roll_back)
    with pytest.raises(Conflict, match="rolled back by hand by Bob"):
        promote(small_yard.engine, clock, experiment_id=trial.row.id, version="1.1.0", author="Ada", force=force)
    assert (production(small_yard)[0], trial.stored().stage) == ("1.0.0", "stopped")
