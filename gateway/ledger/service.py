"""The ledger-writer as a process: two loops, so that a silent Prefect never holds up the ledger."""

import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import ProgrammingError

from gateway.clock import SystemClock
from gateway.errors import PromptyardError, StorageUnavailable
from gateway.ledger.frequencies import Frequencies
from gateway.ledger.outbox import Outbox
from gateway.ledger.question_counter import QuestionCounter
from gateway.ledger.writer import LedgerWriter, WriterBusy
from gateway.settings import Settings
from gateway.storage.engine import make_engine
from gateway.storage.redis_store import connect

INTERVAL = 0.2
LONGEST_PAUSE = 5.0
BUSY_EXIT = 3
_LAST_ROUNDS = 100

_log = logging.getLogger("gateway.ledger.writer")


async def repeat(
    name: str, work: Callable[[], Awaitable[int]], stop: asyncio.Event, *, interval: float = INTERVAL
) -> None:
    """Call ``work`` until ``stop``: at once while it finds something, else after a pause that grows with failures."""
    failures = 0
    while not stop.is_set():
        found = 0
        try:
            found = await work()
            if failures:
                _log.info("%s works again after %d failures", name, failures)
            failures = 0
        except (StorageUnavailable, ProgrammingError) as error:  # the latter: the tables are not there yet
            failures += 1
            if failures == 1:
                _log.warning("%s has to wait: %s", name, error)
        if found == 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(LONGEST_PAUSE, interval * 2 ** min(failures, 10)))


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Ship and post until ``stop``, then ship what is left. Raises WriterBusy."""
    clock = SystemClock()
    engine = make_engine(settings.sql_url, settings.sql)
    redis = connect(settings.state_redis_url, timeout=settings.redis_timeout, connections=2, guarded=True)
    counter = QuestionCounter(engine, Frequencies(redis, clock, timeout=settings.redis_timeout), clock)
    with LedgerWriter(engine, settings.spool_directory, clock, shipped=counter.note) as writer:

        async def ship() -> int:
            finished = await asyncio.to_thread(writer.ship)
            await counter.send()
            return finished

        _log.info("the ledger-writer is ready")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(repeat("the ledger-writer", ship, stop))
                if settings.prefect_api_url:
                    outbox = Outbox(engine, clock, settings.prefect_api_url, random.SystemRandom())
                    group.create_task(_post(outbox, stop))
            await _finish(ship)
        finally:
            await redis.aclose()
            engine.dispose()


async def _post(outbox: Outbox, stop: asyncio.Event) -> None:
    try:
        await repeat("the outbox", outbox.deliver, stop)
    finally:
        await outbox.aclose()


async def _finish(ship: Callable[[], Awaitable[int]]) -> None:
    with contextlib.suppress(StorageUnavailable):  # the next ledger-writer goes on where this one ends
        for _ in range(_LAST_ROUNDS):
            if not await ship():
                return


async def _run() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(Settings(), stop)


def main() -> None:
    """Exit code 0 after SIGTERM or SIGINT, 3 when another ledger-writer holds the lock, 1 on any other trouble."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_run())
    except PromptyardError as error:
        _log.error("%s. %s", error.message, error.hint)
        sys.exit(BUSY_EXIT if isinstance(error, WriterBusy) else 1)


if __name__ == "__main__":
    main()
