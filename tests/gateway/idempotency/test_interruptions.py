"""Callers who leave, a SQL that leaves, and workers that are killed: nobody is charged twice, no key is stuck."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock, SystemClock
from gateway.errors import Overloaded, StorageUnavailable
from gateway.idempotency.claims import Claim, Replay
from gateway.ledger.writer import LedgerWriter
from tests.gateway.idempotency.workers import Worker, asks_sql, cancelled_later, count, locked, row, until
from tests.gateway.ledger.ledger_values import append, spool_at, stored


async def test_a_caller_who_leaves_while_waiting_in_line(one: Worker) -> None:
    claim = await one.claim()
    async with cancelled_later(one.begin()):
        await until(lambda: one.idempotency.waiting)
    last = asyncio.create_task(one.replay())
    await one.finish(claim)
    assert await last == b"answer"


async def test_a_caller_who_leaves_while_waiting_for_another_worker(one: Worker, two: Worker) -> None:
    claim = await two.claim()
    async with cancelled_later(one.begin()):
        await until(lambda: one.idempotency.waiting)
        behind = asyncio.create_task(one.replay())
        await until(lambda: one.idempotency.waiting == 2)
    await two.finish(claim)
    assert await behind == b"answer"
    assert one.idempotency.waiting == 0


async def test_a_claim_that_is_made_after_its_caller_left_is_given_back(
    one: Worker, two: Worker, engine: Engine
) -> None:
    with locked(engine):
        async with cancelled_later(one.begin()):
            await asks_sql(engine)
    await one.idempotency.settle()
    assert count(engine) == 0
    assert not (await two.claim()).inherited


async def test_who_waits_too_long_for_sql_is_told_and_leaves_no_claim(
    engine: Engine, clock: ManualClock, two: Worker
) -> None:
    one = Worker(engine, clock, "one", claim_wait=0.05, max_claiming=1)
    with locked(engine):
        with pytest.raises(StorageUnavailable):
            await one.begin()
        with pytest.raises(Overloaded):  # the thread that asks is still at it
            await one.begin(key="another")
    await one.idempotency.settle()
    assert count(engine) == 0
    assert not (await two.claim()).inherited
    assert isinstance(await one.begin(key="another"), Claim)
    await one.idempotency.settle()


async def test_an_inherited_claim_that_is_given_back_keeps_its_id(
    one: Worker, two: Worker, engine: Engine, clock: ManualClock
) -> None:
    dead = await two.claim()
    clock.advance(31)
    with locked(engine):
        async with cancelled_later(one.begin()):
            await asks_sql(engine)
    await one.idempotency.settle()
    assert (await one.claim()).call_id == dead.call_id


async def test_finish_goes_on_when_its_caller_leaves(one: Worker, two: Worker, engine: Engine) -> None:
    claim = await one.claim()
    with locked(engine):
        async with cancelled_later(one.finish(claim)):
            await asks_sql(engine)
        replay = asyncio.create_task(one.replay())
    assert await replay == b"answer"
    assert await two.replay() == b"answer"


async def test_release_goes_on_when_its_caller_leaves(one: Worker, engine: Engine) -> None:
    claim = await one.claim()
    with locked(engine):
        async with cancelled_later(one.release(claim)):
            await asks_sql(engine)
    assert (await one.claim()).call_id != claim.call_id


@pytest.fixture
def impatient(database_url: str, open_engine: Callable[..., Engine], clock: ManualClock) -> Worker:
    """Whose SQL counts as away after 50 ms."""
    return Worker(open_engine(database_url, timeout=0.05), clock, "impatient")


async def test_without_sql_no_call_with_a_key_begins(impatient: Worker, engine: Engine) -> None:
    with locked(engine), pytest.raises(StorageUnavailable):
        await impatient.begin()
    assert await impatient.claim()


async def test_an_answer_leaves_without_sql_and_is_stored_when_it_is_back(
    impatient: Worker, engine: Engine, two: Worker
) -> None:
    claim = await impatient.claim()
    with locked(engine):
        assert await impatient.finish(claim) == b"answer"
        assert impatient.idempotency.unstored == 1
        assert await impatient.begin() == Replay(claim.call_id, b"answer")  # from memory
    await until(lambda: not impatient.idempotency.unstored)
    assert await two.replay() == b"answer"


async def test_another_worker_that_was_first_after_the_outage_pays_under_the_same_id(
    impatient: Worker, engine: Engine, two: Worker, clock: ManualClock
) -> None:
    claim = await impatient.claim()
    with locked(engine):
        await impatient.finish(claim, b"unstored")
        clock.advance(31)
        taking_over = asyncio.create_task(two.begin())
    granted = await taking_over
    assert granted.call_id == claim.call_id
    if not isinstance(granted, Replay):
        assert await two.finish(granted, b"made again") in (b"made again", b"unstored")
    await until(lambda: not impatient.idempotency.unstored)
    assert await impatient.replay() == await two.replay()


async def test_what_waits_for_sql_is_bounded(
    database_url: str, open_engine: Callable[..., Engine], engine: Engine, clock: ManualClock
) -> None:
    one = Worker(open_engine(database_url, timeout=0.05), clock, "one", max_unstored=10, max_unstored_bytes=10)
    first, second = await one.claim(key="a"), await one.claim(key="b")
    with locked(engine):
        assert await one.finish(first, b"1234567") == b"1234567"
        assert await one.finish(second, b"12345") == b"12345"
        assert one.idempotency.unstored == 1
    await until(lambda: not one.idempotency.unstored)
    assert await one.replay(key="a") == b"1234567"
    clock.advance(31)
    assert (await one.claim(key="b")).call_id == second.call_id


async def test_patience_with_sql_ends(impatient: Worker, engine: Engine, clock: ManualClock) -> None:
    claim = await impatient.claim()
    with locked(engine):
        await impatient.finish(claim)
        clock.advance(601)
        await until(lambda: not impatient.idempotency.unstored)
    kept = row(engine)
    assert kept is not None
    assert kept.outcome is None
    assert (await impatient.claim()).call_id == claim.call_id


async def test_a_failure_is_given_back_when_sql_is_back(impatient: Worker, engine: Engine) -> None:
    claim = await impatient.claim()
    with locked(engine):
        await impatient.release(claim)
        with pytest.raises(StorageUnavailable):
            await impatient.begin()
    await until(lambda: row(engine) is None)
    assert (await impatient.claim()).call_id != claim.call_id


async def test_a_call_that_two_workers_made_is_one_row_of_the_ledger(
    one: Worker, two: Worker, engine: Engine, clock: ManualClock, tmp_path: Path
) -> None:
    """The first one is killed between its record and ``finish``."""
    dead = await one.claim()
    with closing(spool_at(tmp_path, "one")) as spool:
        append(spool, dead.call_id)
    clock.advance(31)
    heir = await two.claim()
    with closing(spool_at(tmp_path, "two")) as spool:
        append(spool, heir.call_id)
    await two.finish(heir)
    with LedgerWriter(engine, tmp_path, clock) as writer:
        while writer.ship():
            pass
    assert stored(engine) == [dead.call_id]


_KILLED = """
import asyncio, sys
from gateway.clock import SystemClock
from gateway.idempotency.idempotency import Idempotency
from gateway.storage.engine import make_engine

async def main():
    idempotency = Idempotency(make_engine(sys.argv[1]), SystemClock(), "killed")
    claims = [await idempotency.begin("acme", key, "f" * 64, f"call-{key}") for key in ("begun", "finished", "failed")]
    await idempotency.finish(claims[1], b"answer")
    await idempotency.release(claims[2])
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def bereaved(ledger_url: str, open_engine: Callable[..., Engine]) -> Engine:
    """A database whose worker was killed in the middle of its work."""
    with subprocess.Popen([sys.executable, "-c", _KILLED, ledger_url], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    return open_engine(ledger_url)


async def test_kill_minus_nine(bereaved: Engine) -> None:
    clock = ManualClock(SystemClock().now())
    one = Worker(bereaved, clock, "one")
    waiting = asyncio.create_task(one.claim(key="begun"))
    await until(lambda: one.idempotency.waiting)
    clock.advance(31)
    assert (await waiting).call_id == "call-begun"
    assert await one.replay(key="finished") == b"answer"
    assert (await one.claim(key="failed")).call_id.startswith("one-")
