"""From the ledger's calls to what the canary decides on. Pure.

A call is evidence about a version when a live, named user of the evidence sample got it from the first-choice model:
answers from the cache, shared with another call or given by a fallback model say nothing about the prompt and are
counted instead. A call that failed for a reason outside of the prompt (an outage, a time-out) is none either.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.ledger.queries import ReleaseCall
from gateway.types import CANARY, STABLE, Layer
from tasks.specs.model import CanarySpec
from tasks.statistics.blocks import Block, UserEvidence
from tasks.statistics.sample_ratio import StepArrivals

QUALITY = "quality"
FAILURE = "failure"
SLOW = "slow"
DEAR = "dear"

# Failures that the prompt's own text or parameters can cause.
BLAMED_ERRORS = frozenset({"provider_rejected_request", "missing_variable", "invalid_request"})


@dataclass(frozen=True)
class Gathered:
    """Users in order of first eligible call, arrivals by step of the plan, and what was left out, by reason."""

    users: tuple[UserEvidence, ...]
    arrivals: tuple[StepArrivals, ...]
    excluded: Mapping[str, int] = field(default_factory=dict)
    by_arm: Mapping[str, int] = field(default_factory=dict)


def why_excluded(call: ReleaseCall) -> str:
    """Empty for evidence, else the reason."""
    if not call.user:
        return "no user"
    if call.arm not in (STABLE, CANARY):
        return "pinned version"
    if not call.evidence:
        return "not in the evidence sample"
    if call.layer == Layer.COALESCED:
        return "shared with another call"
    if call.layer != Layer.NONE:
        return "from the cache"
    if call.fell_back:
        return "answered by a fallback"
    if call.status != "ok" and call.error not in BLAMED_ERRORS:
        return "failed outside of the prompt"
    return ""


def gather(calls: Iterable[ReleaseCall], policy: CanarySpec) -> Gathered:
    """Per-user means over the window that opens at the user's first eligible call, on the arm of that call."""
    excluded: Counter[str] = Counter()
    mine: dict[str, list[ReleaseCall]] = defaultdict(list)
    for call in sorted(calls, key=lambda one: (one.started_at, one.id)):
        reason = why_excluded(call)
        if reason:
            excluded[reason] += 1
            continue
        first = mine[call.user][0] if mine[call.user] else call
        if call.arm != first.arm:
            excluded["moved to the other arm"] += 1
        elif call.started_at > first.started_at + policy.window:
            excluded["after the user's window"] += 1
        else:
            mine[call.user].append(call)
    users = sorted((_user(rows, policy) for rows in mine.values()), key=lambda one: (one.first_call_at, one.user))
    arms: Counter[str] = Counter(one.arm for one in users)
    return Gathered(tuple(users), _arrivals(mine.values()), dict(excluded), dict(arms))


def _user(rows: Sequence[ReleaseCall], policy: CanarySpec) -> UserEvidence:
    first = rows[0]
    deadline = first.started_at + policy.window + policy.scoring_grace
    scores = [
        row.scores[QUALITY]
        for row in rows
        if QUALITY in row.scores and row.scored_at.get(QUALITY, deadline + 1) <= deadline
    ]
    failures = [1.0 if row.status != "ok" else 0.0 for row in rows]
    arm: Literal["stable", "canary"] = "canary" if first.arm == CANARY else "stable"
    answered = [row for row in rows if row.status == "ok"]
    limits = policy.slo
    exceeded: dict[str, float | None] = {}
    if limits is not None and isinstance(limits.latency_ms, float):
        exceeded[SLOW] = _share_above([row.latency_ms for row in answered], limits.latency_ms)
    if limits is not None and isinstance(limits.cost_usd, float):
        exceeded[DEAR] = _share_above(
            [float(row.cost_usd) for row in answered if row.cost_usd is not None], limits.cost_usd
        )
    return UserEvidence(
        user=first.user,
        arm=arm,
        first_call_at=first.started_at,
        metrics={
            QUALITY: sum(scores) / len(scores) if scores else None,
            FAILURE: sum(failures) / len(failures),
            **exceeded,
        },
    )


def _share_above(values: Sequence[float], limit: float) -> float | None:
    return sum(value > limit for value in values) / len(values) if values else None


def _arrivals(users: Iterable[Sequence[ReleaseCall]]) -> tuple[StepArrivals, ...]:
    """Users first seen in each step; the canary's share at that moment is on the call itself."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for rows in users:
        first = rows[0]
        share = first.weight if first.arm == CANARY else 10_000 - first.weight
        counts[share][first.arm] += 1
    return tuple(
        StepArrivals(n_stable=arms[STABLE], n_canary=arms[CANARY], expected_share=share / 10_000)
        for share, arms in sorted(counts.items())
    )


def block_to_json(block: Block) -> dict[str, Any]:
    """A block as the ledger keeps it."""
    return {
        "canary": _user_to_json(block.canary),
        "stable": [_user_to_json(user) for user in block.stable],
        "values_needed": block.values_needed,
    }


def block_from_json(index: int, body: Mapping[str, Any]) -> Block:
    """A kept block. Raises KeyError or TypeError when the row was tampered with."""
    return Block(
        index=index,
        canary=_user_from_json("canary", body["canary"]),
        stable=tuple(_user_from_json("stable", user) for user in body["stable"]),
        values_needed=int(body["values_needed"]),
    )


def _user_to_json(user: UserEvidence) -> dict[str, Any]:
    return {"user": user.user, "first_call_at": user.first_call_at, "metrics": dict(user.metrics)}


def _user_from_json(arm: Literal["stable", "canary"], body: Mapping[str, Any]) -> UserEvidence:
    return UserEvidence(body["user"], arm, float(body["first_call_at"]), dict(body["metrics"]))
