"""Transitions of experiments on both databases: one at a time, never beside a release, and the table follows."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.storage.engine import reading, writing
from gateway.storage.models import ExperimentRow
from gateway.types import STABLE, RetrievalPolicy, Route, Variable
from tasks.experiments import store
from tasks.experiments.store import ExperimentInProgress, ReleaseBesideExperiment
from tasks.releases import store as releases
from tasks.releases.stages import Stage
from tasks.releases.store import ExperimentBesideRelease, StandingChanged
from tests.tasks.releases.test_store_races import at_once
from tests.tasks.releases.yard import Yard, version_row

SEVENTY = ({"version": "1.0.0", "weight": 7_000}, {"version": "1.1.0", "weight": 3_000})
THREE = (*SEVENTY[:1], {"version": "1.1.0", "weight": 2_000}, {"version": "1.2.0", "weight": 1_000})


def opened(
    yard: Yard,
    policy: str = "ab",
    arms: Sequence[Mapping[str, Any]] = SEVENTY,
    spec: Mapping[str, Any] | None = None,
    prompt: str = "help",
) -> ExperimentRow:
    with writing(yard.engine) as session:
        return store.open_experiment(session, "acme", prompt, policy, arms, spec or {}, yard.clock)


def ready(yard: Yard) -> Yard:
    yard.promote("1.0.0")
    yard.register("1.1.0", "1.2.0")
    return yard


def reweighted(
    yard: Yard,
    row: ExperimentRow,
    weights: Sequence[int],
    epoch: int,
    segments: Mapping[str, Sequence[int]] | None = None,
    excluded: Sequence[str] = (),
) -> bool:
    with writing(yard.engine) as session:
        return store.set_weights(session, row.id, weights, segments or {}, excluded, epoch, yard.clock)


def ended(yard: Yard, row: ExperimentRow) -> bool:
    with writing(yard.engine) as session:
        return store.end_experiment(session, row.id, "finished", "enough seen", yard.clock)


def now(yard: Yard, row: ExperimentRow) -> ExperimentRow:
    with reading(yard.engine) as session:
        return session.get_one(ExperimentRow, row.id)


def route(yard: Yard) -> Route:
    table = yard.routing()
    assert table is not None
    (one,) = table.routes
    return one


def test_what_was_declared_is_what_the_gateway_goes_by(yard: Yard) -> None:
    spec = {"fall_back": True, "evidence_share": 0.25, "goal": "quality"}
    row = opened(ready(yard), spec=spec)
    seen = route(yard)
    assert [(arm.name, arm.version.version, arm.weight) for arm in seen.arms] == [
        (STABLE, "1.0.0", 7_000),
        ("1.1.0", "1.1.0", 3_000),
    ]
    assert (seen.experiment, seen.policy, seen.epoch, seen.release) == (row.id, "ab", 0, "")
    assert (seen.fall_back, seen.evidence_share, seen.salt) == (True, 2_500, row.salt)
    assert now(yard, row).spec == {**spec, "context_keys": []}
    with reading(yard.engine) as session:
        assert [one.id for one in store.list_open(session)] == [row.id]
        assert store.find(session, row.id[:-3]).id == row.id
        assert [one.id for one in store.experiments_of(session, "acme", "help")] == [row.id]
        assert store.experiments_of(session, "other") == []
        for unknown in ("exp_nothing", "", "%"):
            with pytest.raises(NotFound):
                store.find(session, unknown)


def test_weights_are_compared_and_set(yard: Yard) -> None:
    row = opened(ready(yard), "contextual", THREE, {"context_keys": ["plan"]})
    assert reweighted(yard, row, [2_000, 0, 8_000], 0, {"plan=pro": [1_000, 0, 9_000]}, ["1.1.0"])
    assert not reweighted(yard, row, [10_000, 0, 0], 0), "somebody was faster"
    seen = route(yard)
    assert [arm.weight for arm in seen.arms] == [2_000, 0, 8_000]
    assert (seen.segments, seen.epoch, seen.context_keys) == ({"plan=pro": (1_000, 0, 9_000)}, 1, ("plan",))
    assert [arm["state"] for arm in now(yard, row).arms] == ["active", "excluded", "active"]
    assert reweighted(yard, row, [4_000, 2_000, 4_000], 1)
    assert (route(yard).segments, route(yard).epoch) == ({}, 2)
    assert [arm["state"] for arm in now(yard, row).arms] == ["active"] * 3


def test_one_of_many_sets_the_weights(yard: Yard) -> None:
    row = opened(ready(yard), "bandit")
    results = at_once(*[lambda: reweighted(yard, row, [5_000, 5_000], 0)] * 6)
    assert sorted(results) == [False] * 5 + [True]
    assert now(yard, row).epoch == 1


def test_the_end_gives_the_baseline_everybody_once(yard: Yard) -> None:
    row = opened(ready(yard))
    assert ended(yard, row)
    closed = now(yard, row)
    assert (closed.stage, closed.reason, closed.ended_at) == ("finished", "enough seen", yard.clock.now())
    assert (yard.weights(), route(yard).experiment) == ({"1.0.0": 10_000}, "")
    assert not ended(yard, row)
    assert not reweighted(yard, row, [5_000, 5_000], 0), "what has ended has no weights"
    assert yard.weights() == {"1.0.0": 10_000}
    again = opened(yard)
    assert route(yard).experiment == again.id


def test_one_of_many_is_opened(yard: Yard) -> None:
    ready(yard)
    results = at_once(*[partial(opened, yard)] * 6)
    assert sum(isinstance(result, ExperimentRow) for result in results) == 1
    assert sum(isinstance(result, ExperimentInProgress) for result in results) == 5


def test_neither_opens_beside_the_other(yard: Yard) -> None:
    ready(yard)
    row = opened(yard)
    with pytest.raises(ExperimentBesideRelease, match=row.id):
        yard.open("1.1.0")
    ended(yard, row)
    release = yard.open("1.1.0")
    with pytest.raises(ReleaseBesideExperiment, match=release.id):
        opened(yard)
    yard.move(release, Stage.REFUSED)
    opened(yard)


def test_of_a_release_and_an_experiment_at_once_one_is_opened(yard: Yard) -> None:
    ready(yard)
    for _ in range(5):
        experiment, release = at_once(partial(opened, yard), partial(yard.open, "1.1.0"))
        if isinstance(experiment, ExperimentRow):
            assert isinstance(release, ExperimentBesideRelease), release
            ended(yard, experiment)
        else:
            assert isinstance(experiment, ReleaseBesideExperiment), experiment
            yard.move(release, Stage.REFUSED)


def test_other_prompts_and_tenants_are_free(yard: Yard) -> None:
    ready(yard)
    opened(yard)
    yard.promote("1.0.0", prompt="other")
    yard.register("1.1.0", prompt="other")
    yard.open("1.1.0", prompt="other")


def test_a_rollback_ends_the_experiment_in_the_same_transaction(yard: Yard) -> None:
    row = opened(ready(yard))
    seen = releases.standing(yard.engine, "acme", "help")
    assert seen.experiment == row.id
    back = partial(releases.roll_back, yard.engine, yard.clock, tenant="acme", prompt="help", actor="me", expected=seen)
    results = at_once(*[back] * 4)
    (done,) = [result for result in results if isinstance(result, tuple)]
    assert sum(isinstance(result, StandingChanged) for result in results) == 3
    assert done == ("1.0.0", f"experiment {row.id}", yard.routing())
    closed = now(yard, row)
    assert (closed.stage, closed.reason) == ("stopped", "rolled back by hand by me")
    assert (yard.weights(), route(yard).experiment) == ({"1.0.0": 10_000}, "")


def test_a_rollback_to_a_version_ends_the_experiment_too(yard: Yard) -> None:
    ready(yard)
    yard.promote("1.2.0")
    row = opened(yard, arms=({"version": "1.2.0", "weight": 5_000}, {"version": "1.1.0", "weight": 5_000}))
    target, undone, _ = releases.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", to="1.0.0")
    assert (target, undone) == ("1.0.0", f"experiment {row.id} and help 1.2.0 in production")
    assert (yard.weights(), now(yard, row).stage) == ({"1.0.0": 10_000}, "stopped")


@pytest.mark.parametrize(
    ("policy", "arms", "spec", "error"),
    [
        ("ab", SEVENTY[:1], {}, InvalidRequest),
        ("ab", (SEVENTY[0], {"version": "1.1.0", "weight": 2_999}), {}, InvalidRequest),
        ("ab", (SEVENTY[0], {"version": "1.0.0", "weight": 3_000}), {}, InvalidRequest),
        ("ab", ({"version": "1.0.0", "weight": 10_001}, {"version": "1.1.0", "weight": -1}), {}, InvalidRequest),
        ("ab", ({"version": "1.0.0", "weight": 0}, {"version": "1.1.0", "weight": 10_000}), {}, InvalidRequest),
        ("ab", ({"version": "1.0.0", "weight": 10_000}, {"version": "1.1.0", "weight": 0}), {}, InvalidRequest),
        ("ab", ({"version": "1.0.0", "weight": 0.7}, {"version": "1.1.0", "weight": 9_999.3}), {}, InvalidRequest),
        ("ab", SEVENTY[::-1], {}, Conflict),
        ("ab", (SEVENTY[0], {"version": "9.9.9", "weight": 3_000}), {}, NotFound),
        ("coin", SEVENTY, {}, InvalidRequest),
        ("contextual", SEVENTY, {}, InvalidRequest),
        ("bandit", SEVENTY, {"context_keys": ["plan"]}, InvalidRequest),
        ("bandit", SEVENTY, {"fall_back": True}, InvalidRequest),
        ("contextual", SEVENTY, {"context_keys": ["plan", "plan"]}, InvalidRequest),
        ("contextual", SEVENTY, {"context_keys": ["a|b"]}, InvalidRequest),
        ("contextual", SEVENTY, {"context_keys": list("abcd")}, InvalidRequest),
        ("ab", SEVENTY, {"evidence_share": 1.1}, InvalidRequest),
    ],
)
def test_what_is_no_experiment_is_refused(
    small_yard: Yard, policy: str, arms: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], error: type[Exception]
) -> None:
    ready(small_yard)
    with pytest.raises(error):
        opened(small_yard, policy, arms, spec)
    assert small_yard.weights() == {"1.0.0": 10_000}


@pytest.mark.parametrize(
    ("weights", "segments", "excluded"),
    [
        ([7_000, 3_000], {}, []),
        ([7_000, 2_000, 1_001], {}, []),
        ([7_000, 2_000, 1_000], {"plan=pro": [10_000]}, []),
        ([7_000, 2_000, 1_000], {"plan=pro": [9_000, 2_000, -1_000]}, []),
        ([7_000, 2_000, 1_000], {}, ["1.1.0"]),
        ([7_000, 0, 3_000], {"plan=pro": [0, 1, 9_999]}, ["1.1.0"]),
        ([0, 7_000, 3_000], {}, ["1.0.0"]),
        ([7_000, 2_000, 1_000], {}, ["9.9.9"]),
        ([7_000, 2_000, 1_000], {f"plan={n}": [10_000, 0, 0] for n in range(1_001)}, []),
    ],
)
def test_what_are_no_weights_is_refused(
    small_yard: Yard, weights: list[int], segments: Mapping[str, list[int]], excluded: list[str]
) -> None:
    row = opened(ready(small_yard), "contextual", THREE, {"context_keys": ["plan"]})
    with pytest.raises(InvalidRequest):
        reweighted(small_yard, row, weights, 0, segments, excluded)
    assert (route(small_yard).epoch, [arm.weight for arm in route(small_yard).arms]) == (0, [7_000, 2_000, 1_000])


def test_nothing_in_production_has_no_experiment(small_yard: Yard) -> None:
    small_yard.register("1.0.0", "1.1.0")
    with pytest.raises(Conflict, match="nothing is"):
        opened(small_yard)


@pytest.mark.parametrize(
    ("baseline", "arm", "words"),
    [
        ((), (Variable("tone"),), "1.1.0 needs the variable 'tone', which 1.0.0 does not know"),
        ((Variable("plan"),), (), "1.0.0 needs the variable 'plan', which 1.1.0 does not know"),
        ((Variable("question"),), (Variable("question"), Variable("tone", required=False)), ""),
        ((Variable("tone", required=False),), (Variable("tone"),), ""),
        ((), (Variable("context"),), ""),
    ],
    ids=["one more", "one less", "an optional one", "required now", "what documents fill"],
)
def test_callers_whom_no_two_arms_could_answer_are_not_split(
    small_yard: Yard, baseline: tuple[Variable, ...], arm: tuple[Variable, ...], words: str
) -> None:
    grounds = RetrievalPolicy(collection="help", query="", into="context")
    for version, variables in (("1.0.0", baseline), ("1.1.0", arm)):
        row = version_row(version)
        row.bundle = {**row.bundle, **msgspec.to_builtins({"variables": variables, "retrieval": grounds})}
        releases.register_version(small_yard.engine, small_yard.clock, row)
    small_yard.move(small_yard.open("1.0.0"), Stage.PROMOTED)
    if not words:
        opened(small_yard)
        return
    with pytest.raises(InvalidRequest, match=words):
        opened(small_yard)
    assert small_yard.weights() == {"1.0.0": 10_000}
