"""From the ledger's calls to what an experiment decides on. Pure.

A call says something about an arm when a live, named user of the evidence sample was given that arm by a draw and got
its answer from the first-choice model. Answers from the cache, shared with another call or given by a fallback model
are counted and left out; a call that nobody has scored is no failure. A failure that the prompt can cause is an outcome
of 0, and so is an arm that failed where the baseline answered in its place.

The unit is a user within an epoch: a bandit draws each user anew when its weights change, and not before. An A/B test
has one epoch and draws each user once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.ledger.queries import ExperimentCall
from gateway.types import Layer
from tasks.releases.evidence import BLAMED_ERRORS, FAILURE
from tasks.statistics.blocks import UserEvidence

OUTCOME = "outcome"
"""A user's mean score, in which a failure of the prompt's counts 0."""
OUTSIDE = "failed outside of the prompt"


@dataclass(frozen=True)
class Plan:
    """What evidence is read by. ``epochs``: when each began, oldest first; ``versions``: the arms, the baseline first.

    Durations in seconds.
    """

    versions: tuple[str, ...]
    metric: str
    window: float
    grace: float
    epochs: tuple[float, ...]


@dataclass(frozen=True)
class Unit:
    """One user within one epoch, segment and arm. ``outcome`` in [0, 1], None while nothing of it is scored."""

    user: str
    arm: int
    epoch: int
    segment: str
    propensity: float
    first_call_at: float
    calls: int
    failures: int
    outcome: float | None


@dataclass(frozen=True)
class FirstSight:
    """What a user saw first: the arm, and what was measured of it within the window that the first call opened."""

    arm: int
    epoch: int
    segment: str
    user: UserEvidence


@dataclass(frozen=True)
class Gathered:
    """Units and users in order of their first eligible call, all evidence calls, and what was left out, by reason."""

    units: tuple[Unit, ...]
    users: tuple[FirstSight, ...]
    calls: tuple[ExperimentCall, ...]
    excluded: Mapping[str, int] = field(default_factory=dict)


def answering(call: ExperimentCall) -> str:
    """The version of the arm that was drawn, whoever answered in its place."""
    return call.fell_back_from or call.version


def failed(call: ExperimentCall) -> bool:
    """Whether the drawn arm failed."""
    return call.status != "ok" or bool(call.fell_back_from)


def why_excluded(call: ExperimentCall, versions: Sequence[str]) -> str:
    """Empty for evidence, else the reason."""
    if not call.user:
        return "no user"
    if call.propensity is None or not call.propensity or answering(call) not in versions:
        return "pinned version"
    if not call.evidence:
        return "not in the evidence sample"
    if call.fell_back_from:
        return "" if call.fell_back_error in BLAMED_ERRORS else OUTSIDE
    if call.layer == Layer.COALESCED:
        return "shared with another call"
    if call.layer != Layer.NONE:
        return "from the cache"
    if call.fell_back:
        return "answered by a fallback"
    if call.status != "ok" and call.error not in BLAMED_ERRORS:
        return OUTSIDE
    return ""


def gather(calls: Iterable[ExperimentCall], plan: Plan) -> Gathered:
    """Units for a bandit's posteriors and for means, users for blocks."""
    excluded: Counter[str] = Counter()
    units: dict[tuple[str, int, int, str, float], list[ExperimentCall]] = defaultdict(list)
    first: dict[str, list[ExperimentCall]] = defaultdict(list)
    used: list[ExperimentCall] = []
    for call in sorted(calls, key=lambda one: (one.started_at, one.id)):
        if reason := why_excluded(call, plan.versions):
            excluded[reason] += 1
            continue
        used.append(call)
        arm, epoch = plan.versions.index(answering(call)), _epoch(call.started_at, plan.epochs)
        units[call.user, arm, epoch, call.segment, round(call.propensity or 0.0, 6)].append(call)
        mine = first[call.user]
        same = not mine or _sight(mine[0], plan) == _sight(call, plan)
        if same and (not mine or call.started_at <= mine[0].started_at + plan.window):
            mine.append(call)
    ordered = sorted(
        (_unit(*key, rows, plan.metric) for key, rows in units.items()), key=lambda one: (one.first_call_at, one.user)
    )
    return Gathered(
        units=tuple(ordered),
        users=tuple(_first_sight(rows, plan) for rows in first.values()),
        calls=tuple(used),
        excluded=dict(excluded),
    )


def _sight(call: ExperimentCall, plan: Plan) -> tuple[str, int, str]:
    return answering(call), _epoch(call.started_at, plan.epochs), call.segment


def _epoch(at: float, began: Sequence[float]) -> int:
    """The place of the last epoch that had begun: gateways follow a change within a second."""
    return max((place for place, start in enumerate(began) if start <= at), default=0)


def _unit(
    user: str,
    arm: int,
    epoch: int,
    segment: str,
    propensity: float,
    rows: Sequence[ExperimentCall],
    metric: str,
) -> Unit:
    return Unit(
        user=user,
        arm=arm,
        epoch=epoch,
        segment=segment,
        propensity=propensity,
        first_call_at=rows[0].started_at,
        calls=len(rows),
        failures=sum(failed(row) for row in rows),
        outcome=_mean([value for row in rows if (value := _value(row, metric)) is not None]),
    )


def _first_sight(rows: Sequence[ExperimentCall], plan: Plan) -> FirstSight:
    first = rows[0]
    deadline = first.started_at + plan.window + plan.grace
    values = [
        value
        for row in rows
        if (value := _value(row, plan.metric)) is not None
        and (failed(row) or row.scored_at.get(plan.metric, deadline + 1) <= deadline)
    ]
    arm = plan.versions.index(answering(first))
    return FirstSight(
        arm=arm,
        epoch=_epoch(first.started_at, plan.epochs),
        segment=first.segment,
        user=UserEvidence(
            user=first.user,
            arm="stable" if arm == 0 else "canary",
            first_call_at=first.started_at,
            metrics={OUTCOME: _mean(values), FAILURE: sum(failed(row) for row in rows) / len(rows)},
        ),
    )


def _value(call: ExperimentCall, metric: str) -> float | None:
    """0 for a failure; a score where there is one."""
    if failed(call):
        return 0.0
    return call.scores.get(metric)


def _mean(values: Sequence[float]) -> float | None:
    return min(1.0, sum(values) / len(values)) if values else None
