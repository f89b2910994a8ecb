"""Workers that share a database, and what the tests look at."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import Engine, QueuePool, select, text

from gateway.clock import Clock, ManualClock
from gateway.idempotency.claims import Claim, Replay
from gateway.idempotency.idempotency import Idempotency
from gateway.idempotency.policy import IdempotencyPolicy
from gateway.storage.engine import reading
from gateway.storage.models import IdempotencyRow

KEY = "order-17"
BODY = "f" * 64
OTHER_BODY = "e" * 64


def policy(**changes: Any) -> IdempotencyPolicy:
    """As in production, but for pauses of a few milliseconds."""
    values: dict[str, Any] = {"first_pause": 0.002, "longest_pause": 0.01, "wait": 20.0, "store_wait": 10.0}
    return IdempotencyPolicy(**(values | changes))


class Worker:
    """An Idempotency with ids for its calls; tenant, key and body are the usual ones unless told otherwise."""

    def __init__(self, engine: Engine, clock: Clock, name: str, sleep: Any = asyncio.sleep, **changes: Any) -> None:
        self.idempotency = Idempotency(engine, clock, name, policy(**changes), sleep=sleep)
        self.name = name
        self._calls = 0

    async def begin(self, *, tenant: str = "acme", key: str = KEY, body: str = BODY) -> Claim | Replay:
        self._calls += 1
        return await self.idempotency.begin(tenant, key, body, f"{self.name}-{self._calls}")

    async def claim(self, **changes: str) -> Claim:
        """Fails unless there is something to do."""
        granted = await self.begin(**changes)
        assert isinstance(granted, Claim)
        return granted

    async def replay(self, **changes: str) -> bytes:
        """Fails unless somebody has answered."""
        granted = await self.begin(**changes)
        assert isinstance(granted, Replay)
        return granted.outcome

    async def finish(self, claim: Claim, outcome: bytes = b"answer") -> bytes:
        return await self.idempotency.finish(claim, outcome)

    async def release(self, claim: Claim) -> None:
        await self.idempotency.release(claim)


def row(engine: Engine, key: str = KEY, tenant: str = "acme") -> IdempotencyRow | None:
    with reading(engine) as session:
        return session.get(IdempotencyRow, (tenant, key))


def count(engine: Engine) -> int:
    with reading(engine) as session:
        return len(session.scalars(select(IdempotencyRow.key)).all())


async def until(holds: Callable[[], object]) -> None:
    """Let the event loop and its threads go on until it holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - rows in SQL set no event
            await asyncio.sleep(0.001)


async def asks_sql(engine: Engine) -> None:
    """Wait until somebody's statement is under way beside the transaction of ``locked``."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    await until(lambda: pool.checkedout() > 1)


class Naps:
    """Sleeps that last until the test says so, and then take their time by the clock."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._wakes: list[tuple[float, asyncio.Event]] = []

    async def __call__(self, seconds: float) -> None:
        awake = asyncio.Event()
        self._wakes.append((seconds, awake))
        await awake.wait()

    async def begun(self) -> None:
        await until(lambda: self._wakes)

    async def pass_one(self) -> None:
        await self.begun()
        seconds, awake = self._wakes.pop(0)
        self._clock.advance(seconds)
        awake.set()


@contextmanager
def locked(engine: Engine) -> Iterator[None]:
    """Nobody else can write: SQL does not answer before its time-out, or until this ends."""
    with engine.begin() as connection:  # on SQLite that is the write lock
        if engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE idempotency IN ACCESS EXCLUSIVE MODE"))
        yield


@asynccontextmanager
async def cancelled_later(work: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """The task of this work, which is cancelled at the end and must say so."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    yield task
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
