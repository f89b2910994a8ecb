"""One look at mirrored calls: what it is shown, and everything that follows. Pure, so that anybody can look again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.ledger.mirrored import MirroredPair
from gateway.storage.models import ReleaseRow
from tasks.releases.mirror_evidence import Compared, compare, mirror_policy
from tasks.releases.plan import Move, weight_of
from tasks.releases.stages import Stage
from tasks.specs.model import Assertion, CanarySpec
from tasks.statistics.mirror import MirrorDecision, MirrorOutcome, decide_mirror


@dataclass(frozen=True)
class MirrorPlan:
    """What a release with a mirror stage has fixed before the first call."""

    version: str
    baseline: str
    canary: CanarySpec
    assertions: tuple[Assertion, ...]

    @classmethod
    def of(cls, release: ReleaseRow) -> "MirrorPlan":
        canary = CanarySpec.model_validate(release.policy["canary"])
        gate = release.policy.get("gate") or {}
        assertions = tuple(Assertion.model_validate(one) for one in gate.get("assertions", ()))
        return cls(release.version, release.baseline, canary, assertions)


@dataclass(frozen=True)
class MirrorShown:
    """What a look is shown: pairs in the order in which looks have met them; times in seconds since the epoch."""

    pairs: Sequence[MirroredPair]
    started_at: float
    now: float


@dataclass(frozen=True)
class MirrorLook:
    """What a look saw and what follows from it."""

    compared: Compared
    decision: MirrorDecision
    move: Move

    def evidence(self) -> dict[str, Any]:
        """For people, and to compare with: plain JSON, under a name of its own in a step's evidence."""
        return {
            "mirror": {
                "decision": self.decision.to_json(),
                "excluded_pairs": dict(self.compared.excluded),
                "described": dict(self.compared.described),
            }
        }


def in_order(pairs: Iterable[MirroredPair], met: Iterable[str]) -> list[MirroredPair]:
    """Pairs that earlier looks have met (by id) in that order, then the others as they are: a pair that reached the
    ledger late never comes before one that a decision rests on.
    """
    places = {identity: place for place, identity in enumerate(met)}
    return sorted(pairs, key=lambda pair: places.get(pair.id, len(places)))


def comparison(pairs: Iterable[MirroredPair], plan: MirrorPlan) -> Compared:
    """The pairs of a plan that count. Raises ValueError for a plan without a mirror."""
    mirror = plan.canary.mirror
    if mirror is None:
        raise ValueError("the release has no mirror stage")
    return compare(
        pairs, version=plan.version, baseline=plan.baseline, assertions=plan.assertions, judged=mirror.judged
    )


def look_at_pairs(shown: MirrorShown, plan: MirrorPlan) -> MirrorLook:
    """The decision of this moment and the move that follows. Raises ValueError for a plan without a mirror."""
    compared = comparison(shown.pairs, plan)
    assert plan.canary.mirror is not None  # noqa: S101 (comparison has seen to it)
    policy = mirror_policy(plan.canary, plan.canary.mirror, plan.assertions)
    elapsed = shown.now - shown.started_at
    decision = decide_mirror(compared.values, policy, pairs=len(compared.pairs), elapsed=elapsed)
    return MirrorLook(compared, decision, next_move(decision, compared, plan.canary))


def next_move(decision: MirrorDecision, compared: Compared, canary: CanarySpec) -> Move:
    """Where the release goes."""
    reason = "; ".join(decision.reasons)
    if decision.outcome is MirrorOutcome.GO_ON:
        weight = weight_of(canary, 0)
        return Move(Stage.CANARY, "started", weight, 0, f"{reason}: canary starts with {weight / 100:g} % of the users")
    if decision.outcome is MirrorOutcome.REFUSE:
        return Move(Stage.REFUSED, "refused", 0, 0, reason)
    if decision.outcome is MirrorOutcome.INCONCLUSIVE:
        left_out = ", ".join(f"{count} {why}" for why, count in compared.excluded.items())
        more = "raise canary.mirror.share or max_hours, or ask for fewer calls"
        words = f"{reason}{f' (left out: {left_out})' if left_out else ''}: {more}"
        return Move(Stage.INCONCLUSIVE, "closed", 0, 0, words)
    return Move(Stage.MIRROR, "held", 0, 0, reason)
