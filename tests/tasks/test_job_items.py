"""Working off a job: side by side, killed at every seam, by two runs at once; on both databases."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock, new_id
from gateway.errors import BudgetExhausted, ChainExhausted, InvalidRequest, PromptyardError, RateLimited
from gateway.jobs import running, store
from gateway.jobs.rules import MAX_ATTEMPTS, ItemState, JobKind, call_id
from gateway.jobs.running import LeaseLost, Outcome
from gateway.jobs.store import NewJob
from gateway.storage.models import JobItemRow
from tasks.job_items import LEASE, OUTAGE, Held, Work, failure, work_off

SECONDS = 1_000.0


class Killed(BaseException):
    """What no code of ours catches."""


class Bench:
    """A job that was taken, and a memory of which items were begun, by which call ids."""

    def __init__(self, engine: Engine, clock: ManualClock, items: int) -> None:
        inputs = [{"variables": {}} for _ in range(items)]
        kind = JobKind.COMPLETION
        new = NewJob(id=new_id("job", clock), tenant="acme", key_id="k", kind=kind, request={}, items=inputs)
        store.accept(engine, clock, new, most_open=9)
        self.engine, self.clock, self.id = engine, clock, new.id
        self.begun: list[str] = []

    def take(self, owner: str = "run") -> Held:
        assert running.claim(self.engine, self.clock, owner, LEASE) is not None
        return Held(self.engine, self.clock, self.id, owner)

    def work(self, also: Callable[[JobItemRow], Awaitable[None]] | None = None) -> Work:
        async def one(item: JobItemRow) -> Outcome:
            own = call_id(item.job_id, item.seq, item.attempts)
            self.begun.append(own)
            if also:
                await also(item)
            return Outcome(state=ItemState.DONE, call_id=own, output={"seq": item.seq})

        return one

    def call_ids(self) -> list[str]:
        return [call_id(self.id, item.seq, 0) for item in self.items()]

    def items(self) -> list[JobItemRow]:
        return store.items(self.engine, "acme", self.id, limit=1_000)

    def end(self, owner: str = "run") -> tuple[str, int, int]:
        row = running.give_back(self.engine, self.clock, self.id, owner)
        return row.state, row.done, row.failed


@pytest.fixture
def bench(engine: Engine, clock: ManualClock) -> Bench:
    return Bench(engine, clock, 7)


async def test_all_items_a_few_at_a_time(bench: Bench) -> None:
    now = most = 0

    async def busy(_: JobItemRow) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    assert not await work_off(bench.take(), bench.work(busy), in_flight=3, seconds=SECONDS)
    assert bench.end() == ("succeeded", 7, 0)
    assert [item.output for item in bench.items()] == [{"seq": seq} for seq in range(7)]
    assert sorted(bench.begun) == sorted(bench.call_ids())
    assert 1 < most <= 3


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("seam", ["before the call", "after the call"])
async def test_a_kill_anywhere_and_the_next_run_completes_it(bench: Bench, at: int, seam: str) -> None:
    async def die(item: JobItemRow) -> None:
        if item.seq == at:
            raise Killed

    finished = bench.work() if seam == "after the call" else None

    async def work(item: JobItemRow) -> Outcome:
        if finished:
            outcome = await finished(item)
            await die(item)
            return outcome
        return await bench.work(die)(item)

    with pytest.raises(Killed):
        await work_off(bench.take("killed"), work, in_flight=1, seconds=SECONDS)
    assert [item.state for item in bench.items()] == ["done"] * at + ["waiting"] * (7 - at)
    assert running.claim(bench.engine, bench.clock, "next", LEASE) is None, "nothing was given back"
    bench.clock.advance(LEASE)
    assert not await work_off(bench.take("next"), bench.work(), in_flight=2, seconds=SECONDS)
    assert bench.end("next") == ("succeeded", 7, 0)
    assert [item.call_id for item in bench.items()] == bench.call_ids()
    assert sorted(set(bench.begun)) == sorted(bench.call_ids()), "made again under the same id"
    assert len(bench.begun) == 8


async def test_a_run_that_was_thought_dead_writes_nothing(bench: Bench) -> None:
    woken, asleep = asyncio.Event(), asyncio.Event()

    async def nap(item: JobItemRow) -> None:
        asleep.set()
        await woken.wait()

    slow = asyncio.create_task(work_off(bench.take("slow"), bench.work(nap), in_flight=1, seconds=SECONDS))
    await asleep.wait()
    bench.clock.advance(LEASE)
    assert not await work_off(bench.take("next"), bench.work(), in_flight=3, seconds=SECONDS)
    woken.set()
    with pytest.raises(LeaseLost):
        await slow
    assert bench.end("next") == ("succeeded", 7, 0)
    assert len(bench.begun) == 8, "it began no further item"


async def test_two_runs_at_once_never_meet(bench: Bench) -> None:
    first = bench.take("first")

    async def look(_: JobItemRow) -> None:
        assert running.claim(bench.engine, bench.clock, "second", LEASE) is None

    await work_off(first, bench.work(look), in_flight=2, seconds=SECONDS)
    assert len(bench.begun) == 7
    assert bench.end("first") == ("succeeded", 7, 0)


async def test_cancelling_takes_effect_at_the_next_item(bench: Bench) -> None:
    async def cancel(item: JobItemRow) -> None:
        if item.seq == 2:
            assert store.cancel(bench.engine, bench.clock, "acme", bench.id).state == "cancelling"

    assert not await work_off(bench.take(), bench.work(cancel), in_flight=1, seconds=SECONDS)
    assert len(bench.begun) == 3, "what was begun is finished"
    assert bench.end() == ("cancelled", 3, 0)
    assert [item.state for item in bench.items()] == ["done"] * 3 + ["waiting"] * 4


async def test_a_turn_has_an_end(bench: Bench) -> None:
    async def dawdle(_: JobItemRow) -> None:
        bench.clock.advance(10)

    held = bench.take()
    assert not await work_off(held, bench.work(dawdle), in_flight=1, seconds=25)
    assert len(bench.begun) == 3
    assert bench.end() == ("running", 3, 0)
    assert not await work_off(bench.take(), bench.work(), in_flight=1, seconds=25)
    assert bench.end() == ("succeeded", 7, 0)


async def test_an_outage_ends_the_turn_and_spares_the_others(engine: Engine, clock: ManualClock) -> None:
    bench = Bench(engine, clock, 3 * OUTAGE)

    async def nobody(item: JobItemRow) -> Outcome:
        return failure(ChainExhausted("nobody answers"), item.attempts)

    assert await work_off(bench.take(), nobody, in_flight=1, seconds=SECONDS)
    assert [item.attempts for item in bench.items()] == [1] * OUTAGE + [0] * 2 * OUTAGE
    assert bench.end() == ("running", 0, 0)
    await work_off(bench.take(), bench.work(), in_flight=1, seconds=SECONDS)
    assert not await work_off(Held(engine, clock, bench.id, "run"), bench.work(), in_flight=1, seconds=SECONDS)
    assert bench.end() == ("succeeded", 3 * OUTAGE, 0)


async def test_one_that_may_pass_waits_and_is_given_up_in_the_end(bench: Bench) -> None:
    async def moody(item: JobItemRow) -> Outcome:
        if item.seq == 3:
            return failure(RateLimited("later"), item.attempts, call_id(bench.id, item.seq, item.attempts))
        return await bench.work()(item)

    assert await work_off(bench.take(), moody, in_flight=1, seconds=SECONDS), "only this one is left, and should wait"
    for attempt in range(1, MAX_ATTEMPTS):
        assert bench.end() == ("running", 6, 0)
        again = await work_off(bench.take(), moody, in_flight=1, seconds=SECONDS)
        assert again is (attempt + 1 < MAX_ATTEMPTS)
    assert bench.end() == ("succeeded", 6, 1)
    failed = bench.items()[3]
    assert (failed.state, failed.error, failed.call_id) == ("failed", "rate_limited", call_id(bench.id, 3, 2))


@pytest.mark.parametrize(
    ("error", "attempts", "state"),
    [
        (RateLimited("x"), 0, ItemState.WAITING),
        (ChainExhausted("x"), MAX_ATTEMPTS - 2, ItemState.WAITING),
        (ChainExhausted("x"), MAX_ATTEMPTS - 1, ItemState.FAILED),
        (InvalidRequest("x"), 0, ItemState.FAILED),
        (BudgetExhausted("x"), 0, ItemState.FAILED),
        (PromptyardError("TypeError"), 0, ItemState.FAILED),
    ],
)
def test_which_errors_are_tried_again(error: PromptyardError, attempts: int, state: ItemState) -> None:
    assert failure(error, attempts, "call_1") == Outcome(
        state=state, call_id="call_1", error=error.code, message=error.message
    )
