"""What a canary does next: pure, from the decision of the statistics and the plan."""

from dataclasses import dataclass

from tasks.releases.evidence import DEAR, FAILURE, QUALITY, SLOW
from tasks.releases.stages import Stage
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import BlockPlan, stable_users_per_block
from tasks.statistics.canary import CanaryDecision, CanaryOutcome, CanaryPolicy
from tasks.statistics.guardrails import Guardrail


@dataclass(frozen=True)
class Move:
    """Where the release goes. ``weight`` in basis points; the same stage and weight means to hold."""

    stage: Stage
    kind: str
    weight: int
    step: int
    reason: str


def statistics_policy(canary: CanarySpec) -> CanaryPolicy:
    """The guardrails of a release: judged quality must not fall, failures must not rise, nor slow or dear answers."""
    rails = [Guardrail(QUALITY, margin=canary.margin, tolerance=canary.tolerance)]
    rarely = [(FAILURE, 0.01)]
    if canary.slo is not None:
        limits = ((SLOW, canary.slo.latency_ms), (DEAR, canary.slo.cost_usd))
        rarely += [(metric, 1.0 - canary.slo.quantile) for metric, limit in limits if limit is not None]
    rails += [
        Guardrail(
            metric,
            margin=canary.margin,
            tolerance=canary.tolerance,
            lower_is_better=True,
            expected_mean=usual,
            expected_sd=None,
        )
        for metric, usual in rarely
    ]
    return CanaryPolicy(guardrails=tuple(rails), alpha=canary.alpha, max_duration=canary.max_duration)


def block_plan(canary: CanarySpec, weight: int) -> BlockPlan:
    """How users are compared while the canary has ``weight`` basis points.

    A stable user who was never scored leaves the others of the block to be compared with: which of them is missing is
    tested by itself, and asking for all would cost nearly every block where a tenth of the users is scored.
    """
    k = stable_users_per_block(weight / 10_000, canary.block_stable_users)
    window = canary.window + canary.scoring_grace
    return BlockPlan(window=window, k=k, concurrency=canary.concurrency, values_needed=1)


def weight_of(canary: CanarySpec, step: int) -> int:
    """Basis points of the users in a step of the plan (0-based)."""
    return round(canary.steps[min(step, len(canary.steps) - 1)] * 100)


def may_grow(canary: CanarySpec, *, step: int, in_step_for: float, blocks_in_step: int) -> bool:
    """Whether a step has lasted and seen enough for the next one, if there is one."""
    return step + 1 < len(canary.steps) and in_step_for >= canary.min_step and blocks_in_step >= canary.min_blocks


def next_move(
    decision: CanaryDecision, canary: CanarySpec, *, step: int, in_step_for: float, blocks_in_step: int
) -> Move:
    """Promote, roll back or end as decided; otherwise grow once the step has lasted and seen enough, else hold.

    ``in_step_for`` in seconds.
    """
    weight = weight_of(canary, step)
    reason = "; ".join(decision.reasons)
    if decision.outcome is CanaryOutcome.ROLL_BACK:
        return Move(Stage.ROLLED_BACK, "rolled_back", 0, step, reason)
    if decision.outcome is CanaryOutcome.PROMOTE:
        return Move(Stage.PROMOTED, "promoted", 10_000, step, reason)
    if decision.outcome is CanaryOutcome.INCONCLUSIVE:
        return Move(Stage.INCONCLUSIVE, "closed", 0, step, reason)
    if may_grow(canary, step=step, in_step_for=in_step_for, blocks_in_step=blocks_in_step):
        there = weight_of(canary, step + 1)
        words = f"no harm seen in {blocks_in_step} users' blocks: {weight / 100:g} % → {there / 100:g} % of users"
        return Move(Stage.CANARY, "advanced", there, step + 1, words)
    return Move(Stage.CANARY, "held", weight, step, reason)
