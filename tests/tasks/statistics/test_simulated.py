"""Small versions of ``make bench ARGS="gate-power canary-power"``, and that what they simulate is what they say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from tasks.statistics.canary import CanaryOutcome
from tests.bench.canary_power import AT_MARGIN, CALLS, EQUAL_ON, KINDS, Kind, simulate
from tests.bench.canary_worlds import (
    ALPHA,
    SHARE,
    Metric,
    World,
    arrive,
    looked_at_after_every_user,
    looked_at_once,
    naive_alarms,
    policy,
)
from tests.bench.gate_power import simulate as simulate_gates
from tests.bench.gate_worlds import MEAN, WORLDS, evaluate
from tests.bench.gate_worlds import World as GateWorld

BY_NAME = {kind.name: kind for kind in KINDS}


def small(name: str, users: int) -> Kind:
    return replace(BY_NAME[name], world=replace(BY_NAME[name].world, users=users))


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_worlds_drop_is_what_it_says(world: GateWorld) -> None:
    seen = evaluate(world, np.random.default_rng(3), items=40_000, repeats=1, drop=0.05)
    error = float(seen.differences.std()) / 200.0
    assert seen.before.mean() == pytest.approx(MEAN, abs=0.01)
    assert seen.differences.mean() == pytest.approx(-0.05, abs=4 * error)
    assert 0.0 <= min(seen.before.min(), seen.now.min()) <= max(seen.before.max(), seen.now.max()) <= 1.0


def test_gates_let_equal_prompts_through_and_hold_a_drop_up() -> None:
    judged = WORLDS[0]
    assert simulate_gates(judged, 0.0, gates=6).outcomes["pass"] >= 5
    assert simulate_gates(judged, 0.05, gates=6).outcomes["pass"] <= 2


def test_one_look_at_the_end_finds_what_a_look_after_every_user_finds() -> None:
    rng = np.random.default_rng(9)
    world = World(Metric(0.8, 0.74, 0.2), users=1_000)
    how = policy(min_duration=1e9)
    for _ in range(5):
        users = arrive(world, rng)
        often, once = looked_at_after_every_user(users, how), looked_at_once(users, how)
        assert often.outcome is once.outcome
        assert often.canary_users <= once.canary_users == int(users.on_canary.sum())


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        (EQUAL_ON, CanaryOutcome.ROLL_BACK),
        (CALLS, CanaryOutcome.ROLL_BACK),
        (AT_MARGIN, CanaryOutcome.PROMOTE),
    ],
)
def test_what_must_not_happen_hardly_does(name: str, outcome: CanaryOutcome) -> None:
    rate = simulate(small(name, 1_000), releases=12).rate(outcome)
    assert rate.share <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 12)


def test_harm_is_found_and_equal_versions_are_promoted() -> None:
    worse = World(Metric(0.8, 0.7, 0.2), users=1_500)
    harmful = Kind("harmful", worse, policy(min_duration=1e9))
    assert simulate(harmful, releases=5).rate(CanaryOutcome.ROLL_BACK).count >= 4
    equal = Kind("equal", World(Metric(0.8, 0.8, 0.2), users=1_500), policy(margin=0.1), once=True)
    assert simulate(equal, releases=5).rate(CanaryOutcome.PROMOTE).count >= 4


def test_the_t_test_beside_it_is_one_and_alarms_more_often() -> None:
    users = arrive(World(Metric(0.8, 0.7, 0.2), users=2_000), np.random.default_rng(1))
    at = naive_alarms(users.score_calls, users.on_canary)
    assert at is not None
    assert users.on_canary.mean() == pytest.approx(SHARE, abs=0.03)

    def p(until: int) -> float:
        values, canary = users.score_calls[:until, 0], users.on_canary[:until]
        return float(ttest_ind(values[canary], values[~canary], equal_var=False).pvalue)

    assert p(at + 1) < 0.08  # Student's tails are a little wider than the normal ones
    assert simulate(small(CALLS, 1_000), releases=12).alarms("per call").share >= 0.15
