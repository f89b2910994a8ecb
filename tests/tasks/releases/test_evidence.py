"""Which calls are evidence, and what a user's evidence is."""

import json
from decimal import Decimal
from typing import Any

import pytest

from gateway.ledger.queries import ReleaseCall
from tasks.releases.evidence import DEAR, FAILURE, QUALITY, SLOW, block_from_json, block_to_json, gather, why_excluded
from tasks.specs.model import CanarySpec, SloSpec
from tasks.statistics.blocks import Block, UserEvidence

POLICY = CanarySpec(window=100.0, scoring_grace=10.0)


def call(identity: str = "c", at: float = 0.0, **changes: Any) -> ReleaseCall:
    values: dict[str, Any] = {
        "id": identity,
        "user": "u",
        "arm": "canary",
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
    }
    return ReleaseCall(**(values | changes))


EXCLUDED: list[tuple[dict[str, Any], str]] = [
    ({"user": ""}, "no user"),
    ({"arm": ""}, "pinned version"),
    ({"arm": "1.0.0"}, "pinned version"),
    ({"evidence": False}, "not in the evidence sample"),
    ({"layer": "exact"}, "from the cache"),
    ({"layer": "local"}, "from the cache"),
    ({"layer": "semantic"}, "from the cache"),
    ({"layer": "stale"}, "from the cache"),
    ({"layer": "coalesced"}, "shared with another call"),
    ({"fell_back": True}, "answered by a fallback"),
    ({"status": "failed", "error": "all_providers_failed"}, "failed outside of the prompt"),
    ({"status": "failed", "error": "storage_unavailable"}, "failed outside of the prompt"),
    ({"status": "failed", "error": ""}, "failed outside of the prompt"),
]


@pytest.mark.parametrize(("changes", "reason"), EXCLUDED)
def test_what_is_no_evidence_is_counted_by_reason(changes: dict[str, Any], reason: str) -> None:
    assert why_excluded(call(**changes)) == reason
    gathered = gather([call(**changes)], POLICY)
    assert (gathered.users, gathered.arrivals, dict(gathered.excluded)) == ((), (), {reason: 1})


@pytest.mark.parametrize("error", ["provider_rejected_request", "missing_variable", "invalid_request"])
def test_a_failure_that_the_prompt_can_cause_is_evidence(error: str) -> None:
    failed = call("a", status="failed", error=error, scores={}, scored_at={})
    (user,) = gather([failed, call("b", 1.0)], POLICY).users
    assert user.metrics == {QUALITY: 0.5, FAILURE: 0.5}


def test_a_user_counts_once_on_the_arm_of_the_first_call() -> None:
    calls = [
        call("later", 50.0, arm="stable"),
        call("first", 0.0, scores={QUALITY: 1.0}),
        call("again", 100.0, scores={QUALITY: 0.0}),
        call("too late", 100.5, scores={QUALITY: 0.0}),
    ]
    gathered = gather(calls, POLICY)
    assert [(user.user, user.arm, user.first_call_at) for user in gathered.users] == [("u", "canary", 0.0)]
    assert gathered.users[0].metrics[QUALITY] == 0.5
    assert dict(gathered.excluded) == {"moved to the other arm": 1, "after the user's window": 1}
    assert dict(gathered.by_arm) == {"canary": 1}


def test_an_excluded_call_does_not_open_the_window() -> None:
    gathered = gather([call("cached", 0.0, layer="exact"), call("real", 99.0)], POLICY)
    assert gathered.users[0].first_call_at == 99.0


@pytest.mark.parametrize(
    ("scored_at", "quality"),
    [({QUALITY: 110.0}, 0.5), ({QUALITY: 110.1}, None), ({}, None)],
)
def test_a_score_after_the_deadline_is_not_tested(scored_at: dict[str, float], quality: float | None) -> None:
    (user,) = gather([call(scored_at=scored_at)], POLICY).users
    assert user.metrics == {QUALITY: quality, FAILURE: 0.0}


def test_users_are_in_order_of_arrival_and_counted_by_step() -> None:
    calls = [
        call("1", 3.0, user="c", arm="canary", weight=2_500),
        call("2", 2.0, user="b", arm="stable", weight=7_500),
        call("3", 2.0, user="a", arm="stable", weight=7_500),
        call("4", 9.0, user="d", arm="canary", weight=5_000),
        call("5", 10.0, user="e", arm="stable", weight=5_000),
    ]
    gathered = gather(calls, POLICY)
    assert [user.user for user in gathered.users] == ["a", "b", "c", "d", "e"]
    assert [(step.n_stable, step.n_canary, step.expected_share) for step in gathered.arrivals] == [
        (2, 1, 0.25),
        (1, 1, 0.5),
    ]
    assert gather(reversed(calls), POLICY) == gathered


def test_a_block_is_read_back_as_it_was_kept() -> None:
    block = Block(
        index=3,
        canary=UserEvidence("c", "canary", 5.0, {QUALITY: None, FAILURE: 0.0}),
        stable=(UserEvidence("s", "stable", 4.0, {QUALITY: 0.25, FAILURE: 1.0}),),
        values_needed=1,
    )
    assert block_from_json(3, json.loads(json.dumps(block_to_json(block)))) == block
    with pytest.raises(KeyError):
        block_from_json(3, {"canary": {}})


SLO = POLICY.model_copy(update={"slo": SloSpec(latency_ms=100.0, cost_usd=0.002)})


@pytest.mark.parametrize(
    ("changes", "slow", "dear"),
    [
        ({"latency_ms": 100.0, "cost_usd": Decimal("0.002")}, 0.0, 0.0),
        ({"latency_ms": 100.1, "cost_usd": Decimal("0.0021")}, 0.5, 0.5),
        ({"cost_usd": None}, 0.0, 0.0),
        ({"status": "failed", "error": "invalid_request", "latency_ms": 900.0}, 0.0, 0.0),
    ],
)
def test_slow_and_dear_answers_are_a_share_of_a_users_answers(
    changes: dict[str, Any], slow: float, dear: float
) -> None:
    calls = [call("a", cost_usd=Decimal("0.001")), call("b", 1.0, **changes)]
    (user,) = gather(calls, SLO).users
    assert (user.metrics[SLOW], user.metrics[DEAR]) == (slow, dear)
    (without,) = gather(calls, POLICY).users
    assert set(without.metrics) == {QUALITY, FAILURE}


def test_what_no_price_is_known_of_is_missing_not_cheap() -> None:
    (user,) = gather([call("a", cost_usd=None)], SLO).users
    assert user.metrics[DEAR] is None
    frozen = POLICY.model_copy(update={"slo": SloSpec()})
    assert set(gather([call("a")], frozen).users[0].metrics) == {QUALITY, FAILURE}  # nothing is frozen yet
