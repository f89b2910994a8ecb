"""What was set in an experiment and when, oldest first: written in the transaction that sets it, never changed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gateway.clock import Clock
from gateway.storage.models import ExperimentRow, ExperimentStepRow
from tasks.experiments.standing import Epoch

STARTED, REWEIGHTED, TOLD, PROMOTED = "started", "reweighted", "told", "promoted"
SETS_WEIGHTS = (STARTED, REWEIGHTED)


def add_step(
    session: Session, clock: Clock, row: ExperimentRow, kind: str, reason: str, evidence: Mapping[str, Any]
) -> None:
    """The next step, with the weights as they are now. The row must be locked: two steps must not get one number."""
    last = session.scalar(select(func.max(ExperimentStepRow.seq)).where(ExperimentStepRow.experiment_id == row.id))
    session.add(
        ExperimentStepRow(
            experiment_id=row.id,
            seq=(last or 0) + 1,
            at=clock.now(),
            kind=kind,
            epoch=row.epoch,
            arms=row.arms,
            segments=row.segments,
            reason=reason,
            evidence=dict(evidence),
        )
    )


def steps_of(session: Session, experiment_id: str) -> list[ExperimentStepRow]:
    """In order."""
    query = select(ExperimentStepRow).where(ExperimentStepRow.experiment_id == experiment_id)
    return list(session.scalars(query.order_by(ExperimentStepRow.seq)))


def epochs_of(row: ExperimentRow, steps: list[ExperimentStepRow]) -> tuple[Epoch, ...]:
    """The weights of an experiment over time; those of now alone where its beginning was not noted."""
    found = [
        Epoch(
            began=step.at,
            weights=tuple(int(arm["weight"]) for arm in step.arms),
            segments={name: tuple(weights) for name, weights in step.segments.items()},
        )
        for step in steps
        if step.kind in SETS_WEIGHTS
    ]
    if found:
        return tuple(found)
    return (
        Epoch(
            began=row.started_at,
            weights=tuple(int(arm["weight"]) for arm in row.arms),
            segments={name: tuple(weights) for name, weights in row.segments.items()},
        ),
    )


def excluded_since(row: ExperimentRow, steps: list[ExperimentStepRow]) -> dict[int, float]:
    """When each arm that is excluded was, by its place."""
    found: dict[int, float] = {}
    for step in steps:
        for place, arm in enumerate(step.arms):
            if arm["state"] == "excluded":
                found.setdefault(place, step.at)
    return {place: at for place, at in found.items() if row.arms[place]["state"] == "excluded"}


def known_outcomes(steps: list[ExperimentStepRow]) -> int:
    """How many outcomes the weights of now rest on."""
    counts = [int(step.evidence.get("outcomes", 0)) for step in steps if step.kind in SETS_WEIGHTS]
    return counts[-1] if counts else 0
