"""Breakers of several workers, on a real Redis."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.errors import BreakerOpen, ProviderOverloaded
from gateway.providers.base import Provider
from gateway.providers.breaker import State
from gateway.providers.breaker_board import Alone, Claim
from gateway.providers.breaking import Breaking
from gateway.providers.redis_board import CLAIM_SECONDS, RedisBoard
from gateway.storage.redis_store import connect
from gateway.types import Completion, Delta, ModelRef, Reply
from tests.gateway.providers.fakes import ScriptedProvider, request_for
from tests.servers import free_port

REF = ModelRef("one", "m:1/b")
REQUEST = request_for(REF)
DOWN = ProviderOverloaded("x")
AT_ONCE = 0.0
"""A cooldown that is over as soon as it begins, on every clock."""


class Vendor:
    """One provider that all workers ask. While it is up it answers when told to."""

    name = "one"

    def __init__(self) -> None:
        self.up = False
        self.asked = 0
        self.came = asyncio.Event()
        self.gate = asyncio.Event()

    async def complete(self, request: Completion) -> Reply:
        self.asked += 1
        if not self.up:
            raise ProviderOverloaded("x")
        self.came.set()
        await self.gate.wait()
        return await ScriptedProvider().complete(request)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        yield Delta(reply=await self.complete(request))

    async def aclose(self) -> None: ...


class Worker:
    """A breaker with its board; news travel when ``exchange`` says so."""

    def __init__(self, redis: Redis, vendor: Provider, cooldown: float) -> None:
        self.clock = ManualClock()
        self.board = RedisBoard(redis, timeout=2.0)
        self.guard = Breaking(vendor, failures=3, cooldown=cooldown, clock=self.clock, board=self.board)

    @property
    def state(self) -> State:
        return self.guard.states().get(REF.model, State.CLOSED)

    async def fail(self) -> None:
        for _ in range(3):
            with pytest.raises(ProviderOverloaded):
                await self.guard.complete(REQUEST)


async def news(*workers: Worker) -> None:
    for worker in workers:
        await worker.board.exchange()


async def half_open(redis: Redis, vendor: Vendor) -> tuple[Worker, Worker]:
    """Two workers of which the first opened the circuit, and the cooldown is over."""
    workers = Worker(redis, vendor, AT_ONCE), Worker(redis, vendor, AT_ONCE)
    await workers[0].fail()
    await news(*workers)
    for worker in workers:
        worker.clock.advance(1.0)
    assert [worker.state for worker in workers] == [State.HALF_OPEN] * 2
    vendor.up = True
    vendor.asked = 0
    return workers


async def test_what_one_worker_opens_is_open_for_all_also_for_one_that_starts_later(state_redis: Redis) -> None:
    vendor = Vendor()
    one, two = (Worker(state_redis, vendor, cooldown=60.0) for _ in range(2))
    await one.fail()
    await news(one, two)
    late = Worker(state_redis, vendor, cooldown=60.0)
    await late.board.start()
    for worker in (two, late):
        with pytest.raises(BreakerOpen) as caught:
            await worker.guard.complete(REQUEST)
        assert caught.value.retry_after == pytest.approx(60.0, abs=5.0)
    assert vendor.asked == 3
    await late.board.stop()


async def test_of_all_workers_one_probes_and_its_success_closes_the_circuit_for_all(state_redis: Redis) -> None:
    vendor = Vendor()
    one, two = await half_open(state_redis, vendor)
    calls = [asyncio.create_task(w.guard.complete(REQUEST)) for w in (one, two) for _ in range(5)]
    async with asyncio.timeout(10):
        for number, call in enumerate(asyncio.as_completed(calls), start=1):
            with pytest.raises(BreakerOpen):
                await call
            if number == len(calls) - 1:
                break
    assert vendor.asked == 1
    vendor.gate.set()
    await asyncio.wait(calls)
    await news(one, two, one)  # whichever of them probed has told the other by then
    assert (one.state, two.state) == (State.CLOSED, State.CLOSED)
    await asyncio.gather(*(w.guard.complete(REQUEST) for w in (one, two)))


async def test_a_failed_probe_opens_it_for_all_again(state_redis: Redis) -> None:
    vendor = Vendor()
    _, two = await half_open(state_redis, vendor)
    patient = Worker(state_redis, vendor, cooldown=60.0)
    await news(patient)
    vendor.up = False
    with pytest.raises(ProviderOverloaded):
        await patient.guard.complete(REQUEST)
    await news(patient, two)
    assert (patient.state, two.state) == (State.OPEN, State.OPEN)
    assert await state_redis.keys("py:{breaker}:probe:*") == []


async def test_after_another_s_probe_a_worker_that_has_not_heard_of_it_does_not_probe_again(state_redis: Redis) -> None:
    vendor = Vendor()
    vendor.gate.set()
    one, two = await half_open(state_redis, vendor)
    await one.guard.complete(REQUEST)
    await news(one)
    assert two.state == "half_open"
    await two.guard.complete(REQUEST)
    assert two.state is State.CLOSED
    assert await state_redis.keys("py:{breaker}:probe:*") == []


async def test_the_claim_of_a_killed_worker_expires_and_that_of_a_living_one_is_renewed(state_redis: Redis) -> None:
    vendor = Vendor()
    one, two = await half_open(state_redis, vendor)
    assert await one.board.claim(REF) is Claim.GRANTED
    [key] = await state_redis.keys("py:{breaker}:probe:*")
    assert 0 < await state_redis.pttl(key) <= CLAIM_SECONDS * 1000
    await state_redis.pexpire(key, 100)
    await one.board.exchange()
    assert await state_redis.pttl(key) > 1000
    assert await two.board.claim(REF) is Claim.REFUSED
    await state_redis.delete(key)  # as if the time had passed
    assert await two.board.claim(REF) is Claim.GRANTED
    one.board.released(REF)
    await one.board.exchange()
    assert await state_redis.exists(key), "nobody gives back what another one holds"


@pytest.mark.parametrize("when", ["claiming", "probing"])
async def test_a_cancelled_probe_gives_its_claim_back(when: str, state_redis: Redis) -> None:
    vendor = Vendor()
    one, two = await half_open(state_redis, vendor)
    probe = asyncio.create_task(one.guard.complete(REQUEST))
    if when == "probing":
        await asyncio.wait_for(vendor.came.wait(), 5)
    else:
        await asyncio.sleep(0)  # it has begun
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await news(one)
    vendor.gate.set()
    await two.guard.complete(REQUEST)
    assert two.state is State.CLOSED


async def test_who_was_refused_asks_again_only_after_a_while(state_redis: Redis) -> None:
    vendor = Vendor()
    one, two = await half_open(state_redis, vendor)
    probe = asyncio.create_task(one.guard.complete(REQUEST))
    await asyncio.wait_for(vendor.came.wait(), 5)
    with pytest.raises(BreakerOpen):
        await two.guard.complete(REQUEST)
    assert two.state is State.OPEN  # for a moment: no trip to Redis for every call meanwhile
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    await news(one)
    two.clock.advance(1.0)
    vendor.gate.set()
    await two.guard.complete(REQUEST)


async def test_without_redis_each_worker_goes_on_by_itself() -> None:
    vendor = Vendor()
    vendor.gate.set()
    async with connect(f"redis://127.0.0.1:{free_port()}/0", timeout=0.2, connections=2) as nobody:
        worker = Worker(nobody, vendor, cooldown=5.0)
        await worker.board.start()
        await worker.fail()
        assert worker.state == "open"
        worker.clock.advance(5.0)
        vendor.up = True
        await worker.guard.complete(REQUEST)
        assert worker.state is State.CLOSED
        await worker.board.stop()


async def test_started_boards_tell_each_other_by_themselves(state_redis: Redis) -> None:
    vendor = Vendor()
    workers = [Worker(state_redis, vendor, cooldown=60.0) for _ in range(2)]
    for worker in workers:
        await worker.board.start()
    await workers[0].fail()
    async with asyncio.timeout(5):
        while workers[1].state is not State.OPEN:  # noqa: ASYNC110 (the board itself looks every so often)
            await asyncio.sleep(0.01)
    for worker in workers:
        await worker.board.stop()


class Untouchable(Alone):
    """A board that nobody may ask."""

    async def claim(self, ref: ModelRef) -> Claim:
        raise AssertionError("a trip on the hot path")

    def opened(self, ref: ModelRef, cooldown: float) -> None:
        raise AssertionError("opened")

    def released(self, ref: ModelRef) -> None:
        raise AssertionError("released")


async def test_while_all_is_well_the_board_is_not_asked() -> None:
    guard = Breaking(
        ScriptedProvider(DOWN, DOWN, None), failures=3, cooldown=5.0, clock=ManualClock(), board=Untouchable()
    )
    for _ in range(2):
        with pytest.raises(ProviderOverloaded):
            await guard.complete(REQUEST)
    assert (await guard.complete(REQUEST)).text == "hi"
