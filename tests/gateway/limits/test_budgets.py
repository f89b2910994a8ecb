"""Money is kept before it is spent: by 200 callers at once, over expiry, restarts, outages and midnight."""

import asyncio
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec import structs
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.errors import BudgetExhausted
from gateway.limits.accounts import CLEANED, Accounts, state
from gateway.storage.redis_line import RedisLine
from gateway.types import Origin, Usage
from tests.gateway.limits.conftest import PER_TOKEN, FakeLedger, FakeOutbox, Worker, Workers, a_call
from tests.servers import let_the_loop_notice

USAGE = Usage(100, 100)
NOTHING = Decimal(0)


async def spend(worker: Worker, usd: str, **asked: float) -> None:
    reservation = await worker.limits.reserve(a_call(**asked))  # type: ignore[arg-type]
    await worker.limits.settle(reservation, USAGE, Decimal(usd))


async def booked(redis: Redis, kind: str = "prompt") -> tuple[Decimal, Decimal]:
    """Spent and reserved, as Redis has it."""
    [key] = [key async for key in redis.scan_iter(f"py:{{budget/{kind}/*") if not key.endswith(b":held")]
    spent, reserved = await redis.hmget(key, "spent", "reserved")
    return Decimal(int(spent or 0)) / 10**9, Decimal(int(reserved or 0)) / 10**9


@pytest.mark.parametrize("scope", ["key_usd", "prompt_usd"])
async def test_200_callers_at_once_never_spend_more_than_the_budget(workers: Workers, scope: str) -> None:
    made, dice, budget = [workers() for _ in range(4)], random.Random(7), Decimal("0.05")
    spent, most, refused = Decimal(0), Decimal(0), 0

    async def one(number: int) -> None:
        nonlocal spent, most, refused
        limits = made[number % 4].limits
        try:
            reservation = await limits.reserve(a_call(**{scope: float(budget)}))  # type: ignore[arg-type]
        except BudgetExhausted as error:
            refused += bool(error.retry_after)
            return
        for _ in range(dice.randrange(5)):
            await asyncio.sleep(0)
        cost = PER_TOKEN * dice.randint(700, 960)  # a reservation is for some 1,010
        spent += cost
        most = max(most, spent)
        await limits.settle(reservation, USAGE, cost)

    for _ in range(3):  # until nothing fits
        await asyncio.gather(*(one(number) for number in range(200)))
    assert most <= budget
    assert refused > 0
    assert budget - spent < PER_TOKEN * 1100, "what could be spent was"


async def test_reserved_money_is_nobody_elses(worker: Worker) -> None:
    call = a_call(prompt_usd=0.0015)
    first = await worker.limits.reserve(call)
    with pytest.raises(BudgetExhausted, match="reserved") as refused:
        await worker.limits.reserve(call)
    assert refused.value.retry_after
    assert refused.value.retry_after <= 2
    await worker.limits.settle(first, USAGE, Decimal("0.0002"))
    await worker.limits.reserve(call)


async def test_an_exhausted_budget_renews_at_midnight(worker: Worker, clock: ManualClock) -> None:
    await spend(worker, "0.0011", prompt_usd=0.002)
    with pytest.raises(BudgetExhausted, match="'help-centre' has no room") as refused:
        await worker.limits.reserve(a_call(prompt_usd=0.002))
    assert refused.value.status == 429
    renewed = clock.now() + (refused.value.retry_after or 0)
    assert datetime.fromtimestamp(renewed, UTC).strftime("%H:%M:%S") == "00:00:00"
    assert 0 < (refused.value.retry_after or 0) <= 86_400
    clock.advance(refused.value.retry_after or 0)
    await worker.limits.reserve(a_call(prompt_usd=0.002, at=clock.now()))


async def test_a_budget_of_nothing_allows_nothing(worker: Worker) -> None:
    with pytest.raises(BudgetExhausted, match="this key"):
        await worker.limits.reserve(a_call(key_usd=0.0))


async def test_key_and_prompt_are_reserved_together_or_not_at_all(worker: Worker, state_redis: Redis) -> None:
    with pytest.raises(BudgetExhausted):
        await worker.limits.reserve(a_call(key_usd=1.0, prompt_usd=0.0001, tokens=2000))
    assert await booked(state_redis, "key") == (NOTHING, NOTHING)
    reservation = await worker.limits.reserve(a_call(key_usd=1.0, prompt_usd=1.0, tokens=2000, max_tokens=1800))
    await worker.limits.settle(reservation, USAGE, Decimal("0.001"))
    assert await booked(state_redis, "key") == await booked(state_redis, "prompt") == (Decimal("0.001"), NOTHING)


async def test_settling_is_idempotent(worker: Worker, state_redis: Redis) -> None:
    reservation = await worker.limits.reserve(a_call(prompt_usd=1.0))
    for _ in range(3):
        await worker.limits.settle(reservation, USAGE, Decimal("0.5"))
    await worker.limits.release(reservation)
    assert await booked(state_redis) == (Decimal("0.5"), NOTHING)


async def test_a_released_call_costs_nothing(worker: Worker, state_redis: Redis) -> None:
    reservation = await worker.limits.reserve(a_call(prompt_usd=0.0015))
    await worker.limits.release(reservation)
    assert await booked(state_redis) == (NOTHING, NOTHING)


async def test_a_killed_worker_blocks_no_money_for_long(workers: Workers, clock: ManualClock) -> None:
    killed, other = workers(reservation_margin=5.0), workers(reservation_margin=5.0)
    await killed.limits.reserve(a_call(prompt_usd=0.0015), lifetime=10.0)
    clock.advance(14.9)
    with pytest.raises(BudgetExhausted):
        await other.limits.reserve(a_call(prompt_usd=0.0015))
    clock.advance(0.2)
    await other.limits.reserve(a_call(prompt_usd=0.0015))


async def test_what_is_settled_after_its_reservation_expired_is_booked(
    worker: Worker, clock: ManualClock, state_redis: Redis
) -> None:
    late = await worker.limits.reserve(a_call(prompt_usd=1.0))
    clock.advance(100)
    current = await worker.limits.reserve(a_call(prompt_usd=1.0))
    await worker.limits.settle(late, USAGE, Decimal("0.3"))
    assert (await booked(state_redis))[0] == Decimal("0.3")
    await worker.limits.settle(current, USAGE, Decimal("0.1"))
    assert await booked(state_redis) == (Decimal("0.4"), NOTHING)


async def test_each_script_lets_go_of_a_bounded_number(state_redis: Redis, clock: ManualClock) -> None:
    accounts = Accounts(RedisLine(state_redis, timeout=1.0), clock.now)

    async def reserve(hold: str) -> int:
        reply = await accounts.reserve("t", limit=10**9, hold=hold, amount=1, lifetime=1, floor=0)
        return state(reply).reserved

    for number in range(CLEANED + 50):
        await reserve(f"old-{number}")
    clock.advance(2)
    assert await reserve("new-1") == 50 + 1
    assert await reserve("new-2") == 2


async def test_a_cancelled_reservation_is_let_go(worker: Worker, state_redis: Redis) -> None:
    await worker.limits.release(await worker.limits.reserve(a_call(prompt_usd=0.0015)))
    asking = asyncio.create_task(worker.limits.reserve(a_call(prompt_usd=0.0015)))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    await worker.limits.release(await worker.limits.reserve(a_call(prompt_usd=1.0)))  # behind it on the line
    assert await booked(state_redis) == (NOTHING, NOTHING)


async def test_background_calls_wait_for_money_that_is_only_reserved(worker: Worker) -> None:
    live = await worker.limits.reserve(a_call(prompt_usd=0.0015))
    waiting = asyncio.create_task(worker.limits.reserve(a_call(prompt_usd=0.0015, origin=Origin.WARM)))
    async with asyncio.timeout(10):
        while not worker.counted("limit_refusals", kind="prompt_budget"):
            await let_the_loop_notice()
    await worker.limits.settle(live, USAGE, Decimal("0.0001"))
    assert (await waiting).holds
    with pytest.raises(BudgetExhausted):  # and do not wait for tomorrow
        await worker.limits.reserve(a_call(prompt_usd=0.0001, origin=Origin.WARM))


async def test_a_late_call_is_booked_on_the_day_of_its_ledger_row(
    worker: Worker, clock: ManualClock, ledger: FakeLedger
) -> None:
    started = clock.now()
    clock.advance(86_400)
    await worker.limits.reserve(a_call(prompt_usd=1.0, key_usd=1.0, at=started))
    day = datetime.fromtimestamp(started, UTC).date()
    assert sorted(ledger.asked, key=str) == [("acme", day, "help-centre", None), ("acme", day, None, "key_1")]


async def test_an_unknown_price_counts_as_a_dear_one(workers: Workers, state_redis: Redis) -> None:
    worker = workers(unknown_price_usd_per_mtok=1000.0)
    with pytest.raises(BudgetExhausted):
        await worker.limits.reserve(a_call(prompt_usd=0.5, model="mystery"))
    reservation = await worker.limits.reserve(a_call(prompt_usd=5.0, model="mystery"))
    await worker.limits.settle(reservation, Usage(60, 40), None)
    assert await booked(state_redis) == (Decimal("0.1"), NOTHING)
    assert worker.counted("budget_unpriced") == 2


async def test_at_80_percent_of_a_budget_people_are_told_once_a_day(
    workers: Workers, clock: ManualClock, outbox: FakeOutbox
) -> None:
    made = [workers(), workers()]
    for number, usd in enumerate(["0.4", "0.39", "0.02", "0.01"]):
        worker = made[number % 2]
        await spend(worker, usd, prompt_usd=1.0)
        await worker.room.notices.written()
        assert len(outbox.told) == (number >= 2)
    [event] = outbox.events.values()
    assert (event["kind"], event["level"], event["used"], event["name"]) == (
        "prompt_budget",
        "near",
        "0.8100",
        "help-centre",
    )
    await spend(made[0], "0.18", prompt_usd=1.0)
    for worker in made:
        with pytest.raises(BudgetExhausted):
            await worker.limits.reserve(a_call(prompt_usd=1.0, max_tokens=5_000_000))
        await worker.room.notices.written()
    assert outbox.told == [("prompt_budget", "near"), ("prompt_budget", "reached")]
    clock.advance(86_400)
    await spend(made[0], "0.9", prompt_usd=1.0, at=clock.now())
    await made[0].room.notices.written()
    assert len(outbox.told) == 3


async def test_mirrored_calls_have_a_purse_of_their_own_and_do_not_wait(
    worker: Worker, state_redis: Redis, ledger: FakeLedger
) -> None:
    mirrored = structs.replace(a_call(prompt_usd=0.002), origin=Origin.MIRROR)
    reservation = await worker.limits.reserve(mirrored)
    await worker.limits.settle(reservation, USAGE, Decimal("0.0015"))
    assert await booked(state_redis, "mirror") == (Decimal("0.0015"), NOTHING)
    with pytest.raises(BudgetExhausted, match="the mirror of"):
        await worker.limits.reserve(mirrored)
    await spend(worker, "0.0001", prompt_usd=0.002)
    assert await booked(state_redis, "prompt") == (Decimal("0.0001"), NOTHING)
    assert {asked[2] is not None for asked in ledger.asked} == {True}
