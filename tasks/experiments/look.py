"""One look at an experiment, and everything that follows from what it is shown. Pure, so that anybody may look again.

A bandit's weights say what pays for now; only a claim that is valid at every look says which arm is better.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway.ledger.queries import MOST_ROUTED
from gateway.prompts.splits import BASIS, Policy
from tasks.experiments.evidence import Gathered, Plan, Unit, gather
from tasks.experiments.standing import Shown, Standing, standing_of
from tasks.statistics.claims import Claim
from tasks.statistics.eprocess import FloatArray
from tasks.statistics.off_policy import ArmEstimate, estimate
from tasks.statistics.thompson import Allocation, allocate, allocate_by_segment, basis_points, discounts

MOST_SEGMENTS = 200
"""With weights of their own: those with the most outcomes. All others go by the weights of the arms."""


@dataclass(frozen=True)
class ArmReport:
    """What is known of an arm. ``standing`` is None for the baseline; ``failure_share`` None without calls."""

    version: str
    weight: int
    excluded: bool
    users: int
    calls: int
    outcomes: int
    failure_share: float | None
    estimate: ArmEstimate
    standing: Standing | None


@dataclass(frozen=True)
class Move:
    """hold, reweight or finish. Weights and segments are those from now on; ``excluded`` versions get nobody."""

    kind: str
    reason: str
    weights: tuple[int, ...] = ()
    segments: Mapping[str, tuple[int, ...]] | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """What a look saw and what follows from it. ``allocation`` is what Thompson's rule would give."""

    gathered: Gathered
    arms: tuple[ArmReport, ...]
    allocation: Allocation
    by_segment: Mapping[str, Allocation]
    outcomes: int
    move: Move


def look_at(shown: Shown) -> Look:
    """The standing of every arm, the weights that follow, and the move of this moment."""
    options = shown.options
    plan = Plan(
        versions=shown.versions,
        metric=options.metric,
        window=options.window,
        grace=options.scoring_grace,
        epochs=tuple(epoch.began for epoch in shown.epochs),
    )
    gathered = gather(shown.calls, plan)
    scored = [unit for unit in gathered.units if unit.outcome is not None]
    standings = {arm: standing_of(shown, gathered.users, arm) for arm in range(1, len(shown.versions))}
    failing = {arm for arm, one in standings.items() if one.failures.worse and not one.doubt}
    out = failing | set(shown.excluded)
    eligible = [arm not in out for arm in range(len(shown.versions))]
    overall, by_segment = _allocations(shown, scored, eligible)
    arms = tuple(_report(shown, gathered, scored, arm, standings.get(arm), arm in out) for arm in range(len(eligible)))
    move = _move(shown, standings, out, overall, by_segment, len(scored))
    if move.kind == "hold" and len(shown.calls) >= MOST_ROUTED:
        full = f"it has all the {MOST_ROUTED:,} calls that are looked at: promote an arm, or stop it and begin anew"
        move = replace(move, reason=f"{move.reason}; {full}")
    return Look(gathered, arms, overall, by_segment, len(scored), move)


def _allocations(
    shown: Shown, scored: Sequence[Unit], eligible: Sequence[bool]
) -> tuple[Allocation, dict[str, Allocation]]:
    ages = discounts(len(scored), shown.options.discount)
    overall = np.zeros((len(eligible), 2))
    segments: dict[str, FloatArray] = defaultdict(lambda: np.zeros((len(eligible), 2)))
    for unit, age in zip(scored, ages, strict=True):
        outcome = unit.outcome or 0.0
        for counts in (overall, segments[unit.segment]):
            counts[unit.arm] += (age * outcome, age * (1.0 - outcome))
    floor = shown.options.floor
    if shown.policy is not Policy.CONTEXTUAL or not segments:
        return allocate(overall, eligible, floor), {}
    often = Counter(unit.segment for unit in scored)
    names = sorted(name for name, _ in often.most_common(MOST_SEGMENTS))
    found = allocate_by_segment(np.stack([segments[name] for name in names]), eligible, floor)
    return allocate(overall, eligible, floor), dict(zip(names, found, strict=True))


def _report(
    shown: Shown, gathered: Gathered, scored: Sequence[Unit], arm: int, standing: Standing | None, out: bool
) -> ArmReport:
    mine = [unit for unit in gathered.units if unit.arm == arm]
    calls = sum(unit.calls for unit in mine)
    until = shown.excluded.get(arm, shown.now + 1.0)
    could = [unit for unit in scored if unit.first_call_at < until]
    used = [unit.propensity for unit in could if unit.arm == arm]
    return ArmReport(
        version=shown.versions[arm],
        weight=shown.epochs[-1].weights[arm],
        excluded=out,
        users=len({unit.user for unit in mine}),
        calls=calls,
        outcomes=sum(unit.arm == arm for unit in scored),
        failure_share=sum(unit.failures for unit in mine) / calls if calls else None,
        estimate=estimate(
            np.array([unit.arm == arm for unit in could], dtype=np.bool_),
            np.array([unit.outcome for unit in could], dtype=np.float64),
            np.array([unit.propensity for unit in could], dtype=np.float64),
            least=_least(shown, arm, used),
            alpha=shown.options.alpha,
        ),
        standing=standing,
    )


def _least(shown: Shown, arm: int, used: Sequence[float]) -> float:
    """What no propensity of the arm was ever to be below: a bandit's floor, or the split that was declared."""
    if shown.policy is Policy.AB:
        declared = shown.epochs[0].weights[arm] / BASIS
    else:
        declared = min(shown.options.floor, 1.0 / len(shown.versions))
    return min([declared, *used])


def _move(
    shown: Shown,
    standings: Mapping[int, Standing],
    out: set[int],
    overall: Allocation,
    by_segment: Mapping[str, Allocation],
    outcomes: int,
) -> Move:
    versions = shown.versions
    excluded = tuple(versions[arm] for arm in sorted(out))
    words = [_in_words(shown, arm, one) for arm, one in standings.items()]
    left = [arm for arm in standings if arm not in out]
    elapsed = shown.now - shown.epochs[0].began
    if not left:
        return Move("finish", "; ".join(words), excluded=excluded)
    decided = all(standings[arm].claim is not Claim.NOT_YET for arm in left)
    if shown.policy is Policy.AB and decided:
        return Move("finish", "; ".join(words), excluded=excluded)
    if elapsed >= shown.options.max_days * 86_400:
        return Move("finish", f"time is up after {elapsed / 86_400:.1f} days: " + "; ".join(words), excluded=excluded)
    fresh = [versions[arm] for arm in sorted(out - set(shown.excluded))]
    news = f"{', '.join(fresh)} is excluded: more of its answers fail" if fresh else ""
    if shown.policy is Policy.AB:
        if not fresh:
            return Move("hold", "; ".join(words), excluded=excluded)
        shares = [0 if arm in out else weight for arm, weight in enumerate(shown.epochs[-1].weights)]
        return Move("reweight", news, basis_points([one / sum(shares) for one in shares]), {}, excluded)
    new = outcomes - shown.known_outcomes
    if not fresh and new < shown.options.batch:
        return Move("hold", f"{new} of {shown.options.batch} new outcomes until the weights move", excluded=excluded)
    segments = {name: found.weights for name, found in by_segment.items()}
    reason = news or f"{new} new outcomes, {outcomes} in all"
    return Move("reweight", reason, overall.weights, segments, excluded)


def _in_words(shown: Shown, arm: int, standing: Standing) -> str:
    version = shown.versions[arm]
    if standing.failures.worse and not standing.doubt:
        return f"{version} fails more often: {standing.failures.means_in_words()}"
    if arm in shown.excluded:
        return f"{version} was excluded"
    if standing.doubt:
        return f"{version}: {standing.doubt}"
    said = standing.comparison.in_words(version, shown.versions[0])
    if shown.policy is Policy.CONTEXTUAL:
        agreed = [name for name, one in standing.by_segment.items() if one.claim is standing.claim]
        said += f"; {len(agreed)} of {len(standing.by_segment)} segments by themselves: {standing.claim.value}"
    return said
