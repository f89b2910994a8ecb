"""What a canary does next, by table."""

import pytest

from gateway.storage.models import ReleaseRow
from tasks.releases.plan import block_plan, next_move, statistics_policy, weight_of
from tasks.releases.reconcile import canary_policy
from tasks.releases.stages import Stage
from tasks.specs.model import CanarySpec, SloSpec
from tasks.statistics.canary import CanaryDecision, CanaryOutcome
from tasks.statistics.sample_ratio import check_sample_ratio

CANARY = CanarySpec(steps=(1.0, 25.0, 50.0), min_step=300.0, min_blocks=10, margin=0.1, tolerance=0.02, alpha=0.01)


def decision(outcome: CanaryOutcome) -> CanaryDecision:
    return CanaryDecision(outcome, ("this", "and that"), (), check_sample_ratio((), 0.001), 12, 60.0, 0.05)


@pytest.mark.parametrize(
    ("outcome", "step", "lasted", "blocks", "expected"),
    [
        (CanaryOutcome.ROLL_BACK, 0, 0.0, 0, (Stage.ROLLED_BACK, "rolled_back", 0, 0)),
        (CanaryOutcome.ROLL_BACK, 2, 900.0, 50, (Stage.ROLLED_BACK, "rolled_back", 0, 2)),
        (CanaryOutcome.PROMOTE, 0, 0.0, 0, (Stage.PROMOTED, "promoted", 10_000, 0)),
        (CanaryOutcome.PROMOTE, 2, 900.0, 50, (Stage.PROMOTED, "promoted", 10_000, 2)),
        (CanaryOutcome.INCONCLUSIVE, 1, 900.0, 50, (Stage.INCONCLUSIVE, "closed", 0, 1)),
        (CanaryOutcome.HOLD, 0, 299.9, 50, (Stage.CANARY, "held", 100, 0)),
        (CanaryOutcome.HOLD, 0, 300.0, 9, (Stage.CANARY, "held", 100, 0)),
        (CanaryOutcome.HOLD, 0, 300.0, 10, (Stage.CANARY, "advanced", 2_500, 1)),
        (CanaryOutcome.HOLD, 1, 300.0, 10, (Stage.CANARY, "advanced", 5_000, 2)),
        (CanaryOutcome.HOLD, 2, 9_999.0, 999, (Stage.CANARY, "held", 5_000, 2)),
    ],
)
def test_the_next_move(
    outcome: CanaryOutcome, step: int, lasted: float, blocks: int, expected: tuple[Stage, str, int, int]
) -> None:
    move = next_move(decision(outcome), CANARY, step=step, in_step_for=lasted, blocks_in_step=blocks)
    assert (move.stage, move.kind, move.weight, move.step) == expected
    if move.kind == "advanced":
        assert "10 users' blocks" in move.reason
        assert f"→ {move.weight / 100:g} %" in move.reason
    else:
        assert move.reason == "this; and that"


def test_weights_are_basis_points_and_stay_at_the_last_step() -> None:
    spec = CanarySpec(steps=(0.01, 33.333))
    assert [weight_of(spec, step) for step in (0, 1, 2, 9)] == [1, 3_333, 3_333, 3_333]


def test_the_promise_is_the_prompts_own() -> None:
    policy = statistics_policy(CANARY)
    assert (policy.alpha, policy.max_duration) == (0.01, 14 * 86_400.0)
    assert [(one.metric, one.margin, one.tolerance, one.lower_is_better) for one in policy.guardrails] == [
        ("quality", 0.1, 0.02, False),
        ("failure", 0.1, 0.02, True),
    ]


@pytest.mark.parametrize(("weight", "k"), [(1_000, 4), (2_000, 4), (2_500, 3), (5_000, 1), (9_000, 1)])
def test_a_step_compares_with_as_many_stable_users_as_it_has(weight: int, k: int) -> None:
    plan = block_plan(CanarySpec(window=10.0, scoring_grace=5.0, concurrency=600.0), weight)
    assert (plan.window, plan.k, plan.concurrency, plan.values_needed) == (15.0, k, 600.0, 1)


def test_a_release_from_before_comparisons_had_a_reach_keeps_one_window() -> None:
    """Its certificate has to come out as it did."""
    declared = CanarySpec(window=100.0, scoring_grace=20.0, concurrency=999.0).model_dump(mode="json")
    before = {name: value for name, value in declared.items() if name != "concurrency"}
    assert canary_policy(ReleaseRow(policy={"canary": declared})).concurrency == 999.0
    assert canary_policy(ReleaseRow(policy={"canary": before})).concurrency == 120.0


@pytest.mark.parametrize(
    ("slo", "metrics"),
    [
        (None, ["quality", "failure"]),
        (SloSpec(), ["quality", "failure", "slow", "dear"]),
        (SloSpec(latency_ms=None), ["quality", "failure", "dear"]),
        (SloSpec(latency_ms=800, cost_usd=None), ["quality", "failure", "slow"]),
    ],
)
def test_each_limit_is_a_guardrail(slo: SloSpec | None, metrics: list[str]) -> None:
    rails = statistics_policy(CANARY.model_copy(update={"slo": slo})).guardrails
    assert [rail.metric for rail in rails] == metrics
    assert all(rail.margin == 0.1 and rail.tolerance == 0.02 for rail in rails)
    assert all(rail.lower_is_better for rail in rails[1:])
