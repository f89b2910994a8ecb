"""The items of a job, worked off beside the connections: some at once, each finished in SQL before the next begins.

Nothing here knows Prefect. What an item is comes as a function; when to stop comes from SQL with every finished item.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import PromptyardError, StorageUnavailable
from gateway.jobs import running
from gateway.jobs.rules import MAX_ATTEMPTS, ItemState, JobState
from gateway.jobs.running import LeaseLost, Outcome
from gateway.storage.models import JobItemRow

LEASE = 60.0
"""Seconds after which a killed run's job is anybody's; renewed four times as often."""
AT_A_TIME = 500
OUTAGE = 8
"""So many errors in a row that may pass, and not one answer between them: the others wait for a later run."""

Work = Callable[[JobItemRow], Awaitable[Outcome]]


@dataclass(frozen=True)
class Held:
    """A job that this run has the lease of."""

    engine: Engine
    clock: Clock
    job_id: str
    owner: str


def failure(error: PromptyardError, attempts: int, call_id: str = "") -> Outcome:
    """An error that may pass is tried again by a later run, a bounded number of times."""
    again = error.retryable and attempts + 1 < MAX_ATTEMPTS
    state = ItemState.WAITING if again else ItemState.FAILED
    return Outcome(state=state, call_id=call_id, error=error.code, message=error.message)


async def work_off(held: Held, work: Work, *, in_flight: int, seconds: float) -> bool:
    """Begin no further item after ``seconds``, or once the job is cancelled or lost; what has begun is finished.

    Returns whether what is left should wait for better times. Raises LeaseLost or StorageUnavailable, after all that
    was in flight has ended.
    """
    items = deque(await asyncio.to_thread(running.waiting_items, held.engine, held.job_id, AT_A_TIME))
    if not items:
        return False
    tried, slice_ = items[0].attempts, _Slice(held, work, items, held.clock.monotonic() + seconds)
    async with _renewing(held, slice_):
        ends = await asyncio.gather(*(slice_.drain() for _ in range(in_flight)), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    if slice_.outage:
        return True
    left = await asyncio.to_thread(running.waiting_items, held.engine, held.job_id, 1)
    return bool(left) and left[0].attempts > tried


class _Slice:
    """Shared by those who work side by side."""

    def __init__(self, held: Held, work: Work, items: deque[JobItemRow], until: float) -> None:
        self._held = held
        self._work = work
        self._items = items
        self._until = until
        self._in_a_row = 0
        self.stopped = False
        self.outage = False

    async def drain(self) -> None:
        held = self._held
        while self._items and not self.stopped and held.clock.monotonic() < self._until:
            item = self._items.popleft()
            try:
                outcome = await self._work(item)
                state = await asyncio.to_thread(running.finish_item, held.engine, item, held.owner, outcome)
            except BaseException:
                self.stopped = True
                raise
            self._in_a_row = self._in_a_row + 1 if outcome.state is ItemState.WAITING else 0
            self.outage = self.outage or self._in_a_row >= OUTAGE
            self.stopped = self.stopped or self.outage or state is not JobState.RUNNING


@asynccontextmanager
async def _renewing(held: Held, slice_: _Slice) -> AsyncIterator[None]:
    """An item may take longer than the lease lasts."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            with suppress(StorageUnavailable):  # nobody else can take it either
                try:
                    until = held.clock.now() + LEASE
                    state = await asyncio.to_thread(running.renew, held.engine, held.job_id, held.owner, until)
                except LeaseLost:
                    slice_.stopped = True
                    return
                slice_.stopped = slice_.stopped or state is not JobState.RUNNING

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
