"""Steps of an experiment on rows as the gateway leaves them: weights that follow outcomes, and an end by itself."""

import pytest

from gateway.prompts.splits import BASIS, Policy
from gateway.storage.engine import reading
from tasks.experiments.history import steps_of
from tasks.experiments.weights import act, advance, found_now
from tasks.statistics.claims import Claim
from tests.tasks.experiments.trial import Trial, by_version
from tests.tasks.releases.yard import Yard

BETTER = by_version({"1.0.0": 0.6, "1.1.0": 0.75, "1.2.0": 0.6})
EQUAL = by_version({"1.0.0": 0.7, "1.1.0": 0.7})


def kinds(trial: Trial) -> list[str]:
    with reading(trial.yard.engine) as session:
        return [step.kind for step in steps_of(session, trial.row.id)]


def test_a_bandit_gives_the_better_arm_more_and_no_arm_less_than_the_floor(yard: Yard) -> None:
    trial = Trial(yard, Policy.BANDIT, ["1.0.0", "1.1.0", "1.2.0"])
    assert trial.weights() == [3_334, 3_333, 3_333]
    steps = trial.play(8, 80, BETTER)
    assert [one.done for one in steps] == ["reweight"] * 8
    assert trial.weights() == [500, 9_000, 500]
    row = trial.stored()
    assert (row.stage, row.epoch, trial.route().epoch) == ("open", 8, 8)
    assert kinds(trial) == ["started", *["reweighted"] * 8]
    last = steps[-1].found.look
    assert last.outcomes == 640
    assert last.arms[1].estimate.lower > 0.6
    assert sum(arm.outcomes for arm in last.arms) == 640
    assert last.gathered.excluded == {}


def test_a_step_without_enough_new_outcomes_changes_nothing_however_often_it_runs(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.BANDIT, ["1.0.0", "1.1.0"], options={"batch": 50})
    trial.play(1, 49, BETTER)
    trial.arrive(30, BETTER, scored=0.0)
    for _ in range(3):
        assert advance(small_yard.engine, small_yard.clock, trial.row.id).done == "hold"
    assert (trial.stored().epoch, trial.weights(), kinds(trial)) == (0, [5_000, 5_000], ["started"])
    trial.arrive(1, BETTER)
    assert advance(small_yard.engine, small_yard.clock, trial.row.id).done == "reweight"
    assert advance(small_yard.engine, small_yard.clock, trial.row.id).done == "hold"
    assert kinds(trial) == ["started", "reweighted"]


def test_an_experiment_with_more_calls_than_are_looked_at_says_so(
    small_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(small_yard, Policy.BANDIT, ["1.0.0", "1.1.0"], options={"batch": 50})
    trial.arrive(20, EQUAL)
    assert "looked at" not in advance(small_yard.engine, small_yard.clock, trial.row.id).note
    monkeypatch.setattr("tasks.experiments.look.MOST_ROUTED", 20)
    assert "20 calls that are looked at" in advance(small_yard.engine, small_yard.clock, trial.row.id).note


@pytest.mark.parametrize("policy", [Policy.BANDIT, Policy.AB])
def test_of_two_steps_with_the_same_view_one_acts(small_yard: Yard, policy: Policy) -> None:
    trial = Trial(small_yard, policy, ["1.0.0", "1.1.0"], options={"max_days": 0.001})
    trial.arrive(60, BETTER)
    trial.clock.advance(120)
    first, second = (found_now(small_yard.engine, small_yard.clock, trial.row.id) for _ in range(2))
    assert act(small_yard.engine, small_yard.clock, first).done == "finish"
    late = act(small_yard.engine, small_yard.clock, second)
    assert (late.done, late.note, late.table) == ("hold", "somebody else was faster", None)
    assert kinds(trial).count("finished") == 1


def test_weights_that_a_stale_look_would_set_are_not_set(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.BANDIT, ["1.0.0", "1.1.0"])
    trial.arrive(60, BETTER)
    first, second = (found_now(small_yard.engine, small_yard.clock, trial.row.id) for _ in range(2))
    assert act(small_yard.engine, small_yard.clock, first).done == "reweight"
    assert act(small_yard.engine, small_yard.clock, second).note == "somebody else was faster"
    assert (trial.stored().epoch, kinds(trial)) == (1, ["started", "reweighted"])


@pytest.mark.parametrize("policy", [Policy.AB, Policy.BANDIT])
def test_an_arm_whose_answers_fail_gets_nobody(small_yard: Yard, policy: Policy) -> None:
    trial = Trial(small_yard, policy, ["1.0.0", "1.1.0", "1.2.0"], options={"batch": 100})
    failing = {"1.2.0": 0.5}
    trial.play(12, 60, by_version({"1.0.0": 0.7, "1.1.0": 0.7, "1.2.0": 0.99}), failing=failing)
    row = trial.stored()
    assert [arm["state"] for arm in row.arms] == ["active", "active", "excluded"]
    assert (row.arms[2]["weight"], sum(arm["weight"] for arm in row.arms)) == (0, BASIS)
    assert (row.stage, trial.route().arms[2].weight) == ("open", 0)
    before = advance(small_yard.engine, small_yard.clock, trial.row.id).found.look
    assert before.arms[2].excluded
    assert 0.0 < before.arms[2].estimate.mean < 0.9  # what failed is worth nothing


@pytest.mark.parametrize(
    ("means", "claim"),
    [({"1.0.0": 0.6, "1.1.0": 0.75}, Claim.BETTER), ({"1.0.0": 0.75, "1.1.0": 0.6}, Claim.WORSE)],
    ids=["better", "worse"],
)
def test_an_ab_test_ends_by_itself_once_it_is_decided(yard: Yard, means: dict[str, float], claim: Claim) -> None:
    trial = Trial(yard, Policy.AB, ["1.0.0", "1.1.0"], shares=[70, 30])
    assert trial.weights() == [7_000, 3_000]
    steps = trial.play(30, 60, by_version(means))
    row = trial.stored()
    assert (row.stage, steps[-1].done) == ("finished", "finish")
    standing = steps[-1].found.look.arms[1].standing
    assert standing is not None
    assert standing.claim is claim
    assert ("1.1.0 is better" if claim is Claim.BETTER else "1.0.0 is better") in row.reason
    assert {one.done for one in steps[:-1]} == {"hold"}
    assert [arm.version.version for arm in trial.route().arms] == ["1.0.0"], "nothing is promoted by it"
    assert kinds(trial) == ["started", "finished"]
    assert advance(yard.engine, yard.clock, row.id).note == "it is finished"


def test_an_ab_test_without_a_difference_ends_when_time_is_up(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"], options={"max_days": 0.01})
    steps = trial.play(20, 40, EQUAL)
    row = trial.stored()
    assert row.stage == "finished"
    assert row.reason.startswith("time is up after 0.0 days: 1.1.0 beside 1.0.0: not yet decided")
    assert len(steps) == 8


def test_users_who_are_not_split_as_drawn_stop_every_claim(small_yard: Yard) -> None:
    trial = Trial(small_yard, Policy.AB, ["1.0.0", "1.1.0"], shares=[50, 50])
    trial.arrive(150, BETTER)
    trial.arrive(200, BETTER, version="1.1.0", propensity=0.5)
    trial.clock.advance(120)
    found = advance(small_yard.engine, small_yard.clock, trial.row.id).found.look.arms[1].standing
    assert found is not None
    assert found.claim is Claim.NOT_YET
    assert found.doubt.startswith("users are not split as drawn")


def test_segments_get_weights_of_their_own_and_only_agreement_makes_a_claim(small_yard: Yard) -> None:
    def opposed(version: str, segment: str) -> float:
        return 0.8 if (version == "1.1.0") == (segment == "plan=pro") else 0.5

    options = {"context_keys": ("plan",)}
    trial = Trial(small_yard, Policy.CONTEXTUAL, ["1.0.0", "1.1.0"], options=options)
    traits = [{"plan": "pro"}, {"plan": "free"}]
    trial.play(1, 240, opposed, traits=traits)
    steps = trial.play(3, 80, opposed, traits=traits)
    row = trial.stored()
    assert row.segments == {"plan=pro": [500, 9_500], "plan=free": [9_500, 500]}
    assert trial.route().segments["plan=pro"] == (500, 9_500)
    standing = steps[-1].found.look.arms[1].standing
    assert standing is not None
    assert {name: one.claim for name, one in standing.by_segment.items()} == {
        "plan=pro": Claim.BETTER,
        "plan=free": Claim.WORSE,
    }
    assert standing.claim is Claim.NOT_YET
