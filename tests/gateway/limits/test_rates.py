"""Requests and tokens of a key: kept apart, refused with a time, waited for in the background, open without Redis."""

import asyncio

import pytest

from gateway.clock import ManualClock
from gateway.errors import RateLimited
from gateway.limits.limits import ADMITTED
from gateway.types import Origin, Usage
from tests.gateway.limits.conftest import FakeOutbox, Worker, Workers, a_call


async def test_beyond_the_limit_a_live_call_is_told_when_to_come_back(worker: Worker, clock: ManualClock) -> None:
    call = a_call(requests=2)
    for _ in range(2):
        await worker.limits.admit(call)
    with pytest.raises(RateLimited) as refused:
        await worker.limits.admit(call)
    assert refused.value.status == 429
    assert refused.value.retry_after == pytest.approx(30, abs=0.01)
    clock.advance(refused.value.retry_after or 0)
    await worker.limits.admit(call)


async def test_all_workers_share_one_window(workers: Workers) -> None:
    made = [workers() for _ in range(4)]
    calls = [made[n % 4].limits.admit(a_call(requests=50)) for n in range(200)]

    async def admitted(one: int) -> bool:
        try:
            await calls[one]
        except RateLimited:
            return False
        return True

    assert sum(await asyncio.gather(*(admitted(n) for n in range(200)))) == 50


async def test_keys_do_not_share_a_window(worker: Worker) -> None:
    await worker.limits.admit(a_call(requests=1, key_id="key_1"))
    await worker.limits.admit(a_call(requests=1, key_id="key_2"))


async def test_what_is_not_limited_asks_nobody(workers: Workers, dead_url: str) -> None:
    worker = workers(url=dead_url)
    assert worker.limits.admit(a_call()) is ADMITTED
    await worker.limits.admit(a_call())
    reservation = await worker.limits.reserve(a_call(requests=1))
    await worker.limits.settle(reservation, Usage(10, 10), None)
    assert worker.counted("limit_unguarded", kind="key_requests") == 0


async def test_an_admission_is_under_way_before_it_is_awaited(worker: Worker) -> None:
    """The second call is refused although the first one is awaited later."""
    call = a_call(requests=1)
    first, second = worker.limits.admit(call), worker.limits.admit(call)
    with pytest.raises(RateLimited):
        await second
    await first


async def test_requests_and_tokens_know_nothing_of_each_other(worker: Worker) -> None:
    call = a_call(requests=3, tokens=1000, max_tokens=900)
    await worker.limits.reserve(call)
    with pytest.raises(RateLimited, match="tokens"):
        await worker.limits.reserve(call)
    for _ in range(3):
        await worker.limits.admit(call)
    with pytest.raises(RateLimited, match="requests"):
        await worker.limits.admit(call)


async def test_what_was_not_used_is_given_back(worker: Worker) -> None:
    call = a_call(tokens=1000, max_tokens=900)
    for _ in range(8):
        reservation = await worker.limits.reserve(call)
        await worker.limits.settle(reservation, Usage(5, 5), None)
    released = await worker.limits.reserve(call)
    await worker.limits.release(released)
    with pytest.raises(RateLimited):
        await asyncio.gather(worker.limits.reserve(call), worker.limits.reserve(call))


async def test_what_was_used_beyond_the_estimate_is_paid_later(worker: Worker, clock: ManualClock) -> None:
    call = a_call(tokens=1000, max_tokens=10)
    reservation = await worker.limits.reserve(call)
    await worker.limits.settle(reservation, Usage(1500, 500), None)
    with pytest.raises(RateLimited) as refused:
        await worker.limits.reserve(call)
    assert refused.value.retry_after == pytest.approx(61, abs=2)


async def test_a_call_larger_than_a_minute_is_served_from_an_empty_bucket(worker: Worker) -> None:
    call = a_call(tokens=100, max_tokens=1000)
    await worker.limits.reserve(call)
    with pytest.raises(RateLimited) as refused:
        await worker.limits.reserve(call)
    assert refused.value.retry_after == pytest.approx(60 * (1000 + 11) / 100, rel=0.02)


async def test_settling_twice_gives_nothing_back_twice(worker: Worker) -> None:
    call = a_call(tokens=1000, max_tokens=300)
    kept = await worker.limits.reserve(call)
    other = await worker.limits.reserve(call)
    for _ in range(3):
        await worker.limits.settle(other, Usage(0, 0), None)
        await worker.limits.release(other)
    await worker.limits.reserve(call)
    await worker.limits.reserve(call)
    with pytest.raises(RateLimited):
        await worker.limits.reserve(call)
    await worker.limits.release(kept)


async def test_background_calls_wait_their_turn(worker: Worker, clock: ManualClock) -> None:
    call = a_call(requests=60, origin=Origin.WARM)
    begun = clock.now()
    for _ in range(70):
        await worker.limits.admit(call)
    assert clock.now() - begun == pytest.approx(10, abs=0.1)


async def test_those_who_wait_are_served_in_order(worker: Worker) -> None:
    for _ in range(60):
        await worker.limits.admit(a_call(requests=60))
    served: list[int] = []

    async def come(number: int) -> None:
        await worker.limits.admit(a_call(requests=60, origin=Origin.GATE))
        served.append(number)

    await asyncio.gather(*(come(number) for number in range(8)))
    assert served == list(range(8))


async def test_waiting_is_bounded_in_time(workers: Workers, clock: ManualClock) -> None:
    worker = workers(background_wait=5.0)
    call = a_call(requests=6, origin=Origin.JUDGE)
    for _ in range(6):
        await worker.limits.admit(call)
    begun = clock.now()
    with pytest.raises(RateLimited) as refused:
        await worker.limits.admit(call)
    assert refused.value.retry_after == pytest.approx(10, abs=0.1)
    assert clock.now() - begun <= 5.0


async def test_waiting_is_bounded_in_number(workers: Workers) -> None:
    worker = workers(background_waiters=3)
    call = a_call(requests=60, origin=Origin.PROBE)
    for _ in range(60):
        await worker.limits.admit(call)

    async def come() -> bool:
        try:
            await worker.limits.admit(call)
        except RateLimited as error:
            return not error.retry_after
        return True

    assert sum(await asyncio.gather(*(come() for _ in range(10)))) == 3


async def test_tokens_are_waited_for_too(worker: Worker, clock: ManualClock) -> None:
    call = a_call(tokens=6000, max_tokens=2989, origin=Origin.JOB)
    begun = clock.now()
    for _ in range(3):
        await worker.limits.reserve(call)
    assert clock.now() - begun == pytest.approx(30, abs=1)


async def test_without_redis_rates_are_open(workers: Workers, dead_url: str) -> None:
    worker = workers(url=dead_url)
    for _ in range(3):
        await worker.limits.admit(a_call(requests=1))
        reservation = await worker.limits.reserve(a_call(tokens=1))
        await worker.limits.settle(reservation, Usage(10, 10), None)
    assert worker.counted("limit_unguarded", kind="key_requests") == 3
    assert worker.counted("limit_unguarded", kind="key_tokens") >= 3


async def test_at_80_percent_people_are_told_once(worker: Worker, clock: ManualClock, outbox: FakeOutbox) -> None:
    clock.advance(600 - clock.now() % 600)
    call = a_call(requests=10)
    for _ in range(7):
        await worker.limits.admit(call)
    await worker.room.notices.written()
    assert outbox.told == []
    for _ in range(3):
        await worker.limits.admit(call)
    await worker.room.notices.written()
    assert outbox.told == [("key_requests", "near")]
    [event] = outbox.events.values()
    assert (event["event"], event["resource"]) == (
        "promptyard.limit.reached",
        "promptyard.limit.acme.key_requests.key_1",
    )
    for _ in range(2):
        with pytest.raises(RateLimited):
            await worker.limits.admit(call)
    await worker.room.notices.written()
    assert outbox.told == [("key_requests", "near"), ("key_requests", "reached")]
    assert worker.counted("limit_reached", kind="key_requests", level="near") == 1
    assert worker.counted("limit_refusals", kind="key_requests") == 2
    clock.advance(600)
    for _ in range(8):
        await worker.limits.admit(call)
    await worker.room.notices.written()
    assert outbox.told[2:] == [("key_requests", "near")]


async def test_only_used_tokens_warn(worker: Worker, outbox: FakeOutbox) -> None:
    call = a_call(tokens=1000, max_tokens=800)
    for tokens in (100, 750):
        reservation = await worker.limits.reserve(call)
        await worker.room.notices.written()
        assert outbox.told == []
        await worker.limits.settle(reservation, Usage(tokens, 0), None)
        await worker.limits.admit(a_call(requests=1000))  # in line behind the settling, which nobody waits for
    await worker.room.notices.written()
    assert outbox.told == [("key_tokens", "near")]


async def test_an_event_that_could_not_be_written_is_written_later(
    worker: Worker, clock: ManualClock, outbox: FakeOutbox
) -> None:
    outbox.down = True
    await worker.limits.admit(a_call(requests=1))
    await worker.room.notices.written()
    outbox.down = False
    clock.advance(61)
    await worker.limits.admit(a_call(requests=1))
    await worker.room.notices.written()
    assert ("key_requests", "near") in outbox.told
