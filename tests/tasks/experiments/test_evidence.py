"""Which calls are evidence about an arm, and what a user's evidence is."""

from typing import Any

import pytest

from gateway.ledger.queries import ExperimentCall
from tasks.experiments.evidence import OUTCOME, OUTSIDE, Plan, gather, why_excluded
from tasks.releases.evidence import FAILURE, QUALITY

PLAN = Plan(versions=("1.0.0", "1.1.0"), metric=QUALITY, window=100.0, grace=10.0, epochs=(0.0, 200.0))


def call(identity: str = "c", at: float = 0.0, **changes: Any) -> ExperimentCall:
    values: dict[str, Any] = {
        "id": identity,
        "user": "u",
        "arm": "1.1.0",
        "version": "1.1.0",
        "weight": 2_500,
        "started_at": at,
        "latency_ms": 20.0,
        "status": "ok",
        "error": "",
        "layer": "none",
        "fell_back": False,
        "evidence": True,
        "cost_usd": None,
        "scores": {QUALITY: 0.5},
        "scored_at": {QUALITY: at + 1},
        "segment": "",
        "propensity": 0.25,
        "fell_back_from": "",
        "fell_back_error": "",
    }
    return ExperimentCall(**(values | changes))


EXCLUDED: list[tuple[dict[str, Any], str]] = [
    ({"user": ""}, "no user"),
    ({"propensity": None}, "pinned version"),
    ({"version": "2.0.0"}, "pinned version"),
    ({"evidence": False}, "not in the evidence sample"),
    ({"layer": "exact"}, "from the cache"),
    ({"layer": "semantic"}, "from the cache"),
    ({"layer": "coalesced"}, "shared with another call"),
    ({"fell_back": True}, "answered by a fallback"),
    ({"status": "failed", "error": "all_providers_failed"}, OUTSIDE),
    ({"fell_back_from": "1.1.0", "version": "1.0.0", "fell_back_error": "all_providers_failed"}, OUTSIDE),
]


@pytest.mark.parametrize(("changes", "reason"), EXCLUDED)
def test_what_is_no_evidence_is_counted_by_reason(changes: dict[str, Any], reason: str) -> None:
    assert why_excluded(call(**changes), PLAN.versions) == reason
    found = gather([call(**changes)], PLAN)
    assert (found.units, found.users, found.calls, dict(found.excluded)) == ((), (), (), {reason: 1})


def test_an_arm_that_failed_is_blamed_whoever_answered_in_its_place() -> None:
    instead = {"version": "1.0.0", "fell_back_from": "1.1.0", "fell_back_error": "provider_rejected_request"}
    (unit,) = gather([call(**instead, scores={QUALITY: 1.0})], PLAN).units
    assert (unit.arm, unit.failures, unit.outcome) == (1, 1, 0.0)


def test_a_failure_of_the_prompt_is_an_outcome_of_nothing() -> None:
    failed = call("a", status="failed", error="invalid_request", scores={}, scored_at={})
    (unit,) = gather([failed, call("b", 1.0, scores={QUALITY: 0.8})], PLAN).units
    assert (unit.calls, unit.failures, unit.outcome) == (2, 1, 0.4)


def test_a_call_that_nobody_scored_is_neither_failure_nor_outcome() -> None:
    (unit,) = gather([call(scores={}, scored_at={})], PLAN).units
    assert (unit.calls, unit.failures, unit.outcome) == (1, 0, None)
    (scored,) = gather([call("a", scores={}, scored_at={}), call("b", 1.0)], PLAN).units
    assert scored.outcome == 0.5


def test_a_user_counts_once_an_epoch() -> None:
    calls = [
        call("a", 0.0, scores={QUALITY: 0.2}),
        call("b", 150.0, scores={QUALITY: 0.6}),
        call("c", 201.0, version="1.0.0", propensity=0.75, scores={QUALITY: 1.0}),
        call("d", 202.0, user="w"),
    ]
    found = gather(reversed(calls), PLAN)
    units = [(unit.user, unit.arm, unit.epoch, unit.propensity, unit.outcome) for unit in found.units]
    assert units == [("u", 1, 0, 0.25, 0.4), ("u", 0, 1, 0.75, 1.0), ("w", 1, 1, 0.25, 0.5)]


def test_in_blocks_a_user_stands_for_the_first_arm_within_the_window() -> None:
    calls = [
        call("a", 0.0, scores={QUALITY: 0.2}, scored_at={QUALITY: 5.0}),
        call("b", 90.0, scores={QUALITY: 0.9}, scored_at={QUALITY: 110.1}),
        call("c", 101.0, scores={QUALITY: 1.0}),
        call("d", 201.0, version="1.0.0", scores={QUALITY: 1.0}),
    ]
    (sight,) = gather(calls, PLAN).users
    assert (sight.arm, sight.epoch, sight.user.arm) == (1, 0, "canary")
    assert sight.user.metrics == {OUTCOME: 0.2, FAILURE: 0.0}


def test_segments_are_apart() -> None:
    found = gather([call("a", segment="plan=pro"), call("b", 1.0, segment="plan=free")], PLAN)
    assert [unit.segment for unit in found.units] == ["plan=pro", "plan=free"]
    assert [sight.segment for sight in found.users] == ["plan=pro"]
