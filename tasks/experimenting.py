"""Prefect tasks around the steps of experiments: each one commits first, then pushes and verifies."""

from dataclasses import replace

from sqlalchemy import select

from gateway.clock import Clock
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import ExperimentRow, ExperimentStepRow
from tasks.experiments import store, weights
from tasks.experiments.history import TOLD, add_step
from tasks.experiments.weights import Stepped
from tasks.registration import engine_of
from tasks.releasing import push
from tasks.step import step

NEWS = 86_400.0
"""Seconds for which the end of an experiment is news."""


@step("open experiments")
def list_open(settings: Settings) -> list[ExperimentRow]:
    """Every open experiment, of all tenants, oldest first."""
    with reading(engine_of(settings)) as session:
        return store.list_open(session)


def experiments_wait(settings: Settings, clock: Clock) -> bool:
    """Whether there is anything to do for experiments."""
    return bool(list_open.fn(settings) or untold.fn(settings, clock))


@step("advance experiment")
def advance(settings: Settings, clock: Clock, experiment_id: str) -> Stepped:
    """One step of one experiment, its table pushed; what it then looks like is in it."""
    engine = engine_of(settings)
    stepped = weights.advance(engine, clock, experiment_id)
    if stepped.table is None:
        return stepped
    push(settings, stepped.table)
    return replace(stepped, found=weights.found_now(engine, clock, experiment_id))


@step("untold ends of experiments")
def untold(settings: Settings, clock: Clock) -> list[ExperimentRow]:
    """Experiments that ended by themselves within a day and nobody was told of."""
    told = select(ExperimentStepRow.experiment_id).where(ExperimentStepRow.kind == TOLD)
    ended = select(ExperimentStepRow.experiment_id).where(ExperimentStepRow.kind == store.FINISHED)
    query = select(ExperimentRow).where(
        ExperimentRow.ended_at >= clock.now() - NEWS, ExperimentRow.id.in_(ended), ExperimentRow.id.not_in(told)
    )
    with reading(engine_of(settings)) as session:
        return list(session.scalars(query.order_by(ExperimentRow.ended_at)))


def told(settings: Settings, clock: Clock, experiment_id: str) -> None:
    """People know. A run that died before this tells them again: rather twice than never."""
    with writing(engine_of(settings)) as session:
        row = session.get_one(ExperimentRow, experiment_id, with_for_update=True)
        add_step(session, clock, row, TOLD, "people were told how it ended", {})
