"""Jobs: one is taken under a lease, worked on for a while, given back; then the one whose turn it is."""

import logging
import traceback
from contextlib import suppress
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.errors import PromptyardError
from gateway.jobs import running, store
from gateway.jobs.rules import JobState, progress
from gateway.jobs.running import LeaseLost
from gateway.settings import Settings
from gateway.storage.models import JobRow
from tasks.job_items import LEASE, Held, work_off
from tasks.job_work import work_of
from tasks.llm import client
from tasks.registration import engine_of
from tasks.step import step

PAUSE = 60.0
"""Seconds that a job waits at least after errors that may pass."""
PATIENCE = 900.0
"""Seconds for the items in flight to end, whatever their time-outs are."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobReport:
    """A job as a run gave it back; ``lost`` when another one had taken it."""

    id: str
    tenant: str
    kind: str
    state: str
    total: int
    done: int
    failed: int
    cost_usd: float
    error: str = ""
    lost: bool = False

    @classmethod
    def of(cls, row: JobRow, *, lost: bool = False) -> "JobReport":
        cost = float(row.cost_usd)
        return cls(row.id, row.tenant, row.kind, row.state, row.total, row.done, row.failed, cost, row.error, lost)

    @property
    def progress(self) -> float:
        """In [0, 1]."""
        return progress(self.total, self.done, self.failed)


@step("work on a job")
def work_on_next(
    settings: Settings, clock: Clock, owner: str, *, flow_run: str = "", in_flight: int = 8, seconds: float = 20.0
) -> JobReport | None:
    """Take the job whose turn it is, begin items for ``seconds``, give it back. None when there is nothing to do.

    May be killed anywhere: what was finished stays, the rest is the next run's. Raises StorageUnavailable.
    """
    engine = engine_of(settings)
    job = running.claim(engine, clock, owner, LEASE, flow_run=flow_run)
    if job is None:
        return None
    held = Held(engine, clock, job.id, owner)
    try:
        pause, error = _work(settings, held, job, in_flight, seconds)
        return JobReport.of(running.give_back(engine, clock, job.id, owner, pause=pause, error=error))
    except LeaseLost:
        return JobReport.of(job, lost=True)
    except BaseException:  # a run that is told to stop need not make the next one wait for the lease
        with suppress(PromptyardError):
            running.give_back(engine, clock, job.id, owner)
        raise


def _work(settings: Settings, held: Held, job: JobRow, in_flight: int, seconds: float) -> tuple[float, str]:
    """How long to wait with the rest, and what broke the job as a whole."""
    if job.state != JobState.RUNNING:  # a killed run did not live to see that it was cancelled
        return 0.0, ""
    try:
        online = client(settings)
        work = work_of(settings, online.gateway, held, job)
        waits = online.run(work_off(held, work, in_flight=in_flight, seconds=seconds), seconds + PATIENCE)
        return PAUSE if waits else 0.0, ""
    except LeaseLost:
        raise
    except PromptyardError as error:
        return (PAUSE, "") if error.retryable else (0.0, error.message)
    except Exception as error:
        # Its message could hold a prompt: the log has its type and place.
        log.error("%s broke: %s\n%s", job.id, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
        return 0.0, f"an unexpected {type(error).__name__}"


@step("forget old jobs")
def forget_old(settings: Settings, clock: Clock) -> int:
    """Remove finished jobs whose time to be fetched is over; returns how many."""
    return store.forget(engine_of(settings), clock.now() - settings.job_retention)


def cancel_jobs_of(settings: Settings, clock: Clock, flow_run: str) -> int:
    """Cancel what a run that was cancelled in Prefect was working on; returns how many."""
    return running.cancel_run(engine_of(settings), clock, flow_run)
