"""Budgets while the state Redis is down, or has forgotten, and while SQL is down with it."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.errors import BudgetExhausted
from tests.gateway.limits.conftest import FakeLedger, Worker, Workers, a_call
from tests.gateway.limits.test_budgets import NOTHING, USAGE, booked, spend
from tests.servers import STATE_ROLE, RedisServer, let_the_loop_notice, start_redis


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path / "redis", *STATE_ROLE)
    yield server
    server.stop()


async def spend_until_refused(worker: Worker, usd: str, budget: float, most: int = 1000) -> Decimal:
    spent = Decimal(0)
    for _ in range(most):
        try:
            await spend(worker, usd, prompt_usd=budget)
        except BudgetExhausted:
            return spent
        spent += Decimal(usd)
    raise AssertionError("nothing was refused")


async def test_a_worker_spends_its_allowance_and_no_more(workers: Workers, dead_url: str, ledger: FakeLedger) -> None:
    worker = workers(url=dead_url, budget_allowance_usd=0.1)
    spent = await spend_until_refused(worker, "0.01", budget=100.0)
    assert Decimal("0.08") < spent <= Decimal("0.1")
    with pytest.raises(BudgetExhausted, match="cannot be checked") as refused:
        await worker.limits.reserve(a_call(prompt_usd=100.0))
    assert refused.value.retry_after == 5.0
    assert worker.counted("limit_unguarded", kind="prompt_budget") > 0


async def test_what_is_on_its_way_uses_the_allowance_too(workers: Workers, dead_url: str) -> None:
    worker = workers(url=dead_url, budget_allowance_usd=0.0025)
    kept = [await worker.limits.reserve(a_call(prompt_usd=100.0)) for _ in range(2)]
    with pytest.raises(BudgetExhausted):
        await worker.limits.reserve(a_call(prompt_usd=100.0))
    for reservation in kept:
        await worker.limits.release(reservation)
    await worker.limits.reserve(a_call(prompt_usd=100.0))


async def test_the_ledger_says_when_the_budget_is_spent(workers: Workers, dead_url: str, ledger: FakeLedger) -> None:
    ledger.spent = Decimal("9.995")
    worker = workers(url=dead_url, budget_allowance_usd=5.0)
    assert await spend_until_refused(worker, "0.001", budget=10.0) <= Decimal("0.005")
    with pytest.raises(BudgetExhausted) as refused:
        await worker.limits.reserve(a_call(prompt_usd=9.0))
    assert (refused.value.retry_after or 0) > 5, "until it renews"


async def test_the_ledger_is_asked_every_few_seconds_at_most(
    workers: Workers, dead_url: str, ledger: FakeLedger, clock: ManualClock
) -> None:
    worker = workers(url=dead_url)
    for _ in range(20):
        await spend(worker, "0.0001", prompt_usd=10.0)
    assert len(ledger.asked) == 1
    clock.advance(5)
    ledger.spent = Decimal("9.9999")
    await spend(worker, "0.0001", prompt_usd=10.0)
    async with asyncio.timeout(10):  # it is read behind the call
        while len(ledger.asked) < 2:
            await let_the_loop_notice()


async def test_without_redis_and_sql_there_is_the_allowance_alone(
    workers: Workers, dead_url: str, ledger: FakeLedger
) -> None:
    ledger.down = True
    worker = workers(url=dead_url, budget_allowance_usd=0.1)
    assert Decimal("0.08") < await spend_until_refused(worker, "0.01", budget=100.0) <= Decimal("0.1")
    small = workers(url=dead_url, budget_allowance_usd=0.1)
    assert await spend_until_refused(small, "0.01", budget=0.05) <= Decimal("0.05"), "and never more than the budget"


async def test_a_new_day_begins_with_what_the_ledger_says(
    worker: Worker, ledger: FakeLedger, state_redis: Redis
) -> None:
    ledger.spent = Decimal("0.7")
    await spend(worker, "0.1", prompt_usd=1.0)
    assert (await booked(state_redis))[0] == Decimal("0.8")


async def test_an_empty_redis_and_no_ledger_is_not_a_spend_of_nothing(workers: Workers, ledger: FakeLedger) -> None:
    ledger.down = True
    worker = workers(budget_allowance_usd=0.02)
    assert await spend_until_refused(worker, "0.001", budget=100.0) <= Decimal("0.02")


async def test_no_seed_counts_twice(workers: Workers, ledger: FakeLedger, state_redis: Redis) -> None:
    """Four workers begin on the same day, with a ledger that lags; each lifts, none adds."""
    ledger.spent = Decimal("0.3")
    for number in range(4):
        await spend(workers(), "0.01", prompt_usd=1.0)
        ledger.spent += Decimal("0.005") * (number + 1) / 4  # never ahead of what Redis knows
    assert (await booked(state_redis))[0] == Decimal("0.34")


async def test_a_redis_that_was_emptied_learns_what_was_spent(
    worker: Worker, ledger: FakeLedger, state_redis: Redis
) -> None:
    await spend(worker, "0.6", prompt_usd=1.0)
    ledger.spent = Decimal("0.2")  # the ledger lags behind
    await state_redis.flushall()
    await spend(worker, "0.1", prompt_usd=1.0)
    assert await booked(state_redis) == (Decimal("0.7"), NOTHING)


async def test_a_stranger_to_an_emptied_redis_learns_it_from_the_ledger(
    workers: Workers, ledger: FakeLedger, state_redis: Redis
) -> None:
    await spend(workers(), "0.6", prompt_usd=1.0)
    ledger.spent = Decimal("0.6")
    await state_redis.flushall()
    await spend(workers(), "0.1", prompt_usd=1.0)
    assert await booked(state_redis) == (Decimal("0.7"), NOTHING)


async def test_a_reservation_that_an_emptied_redis_forgot_is_booked_when_settled(
    worker: Worker, state_redis: Redis
) -> None:
    await spend(worker, "0.2", prompt_usd=1.0)
    reservation = await worker.limits.reserve(a_call(prompt_usd=1.0))
    await state_redis.flushall()
    await worker.limits.settle(reservation, USAGE, Decimal("0.3"))
    assert (await booked(state_redis))[0] == Decimal("0.5")


async def test_what_was_spent_in_an_outage_counts_when_redis_is_back(
    workers: Workers, ledger: FakeLedger, own_server: RedisServer, clock: ManualClock
) -> None:
    worker = workers(url=own_server.url, budget_allowance_usd=0.1)
    await spend(worker, "0.5", prompt_usd=0.6)
    settled_in_the_outage = await worker.limits.reserve(a_call(prompt_usd=0.6))
    own_server.stop()
    await let_the_loop_notice()
    await worker.limits.settle(settled_in_the_outage, USAGE, Decimal("0.001"))
    await spend(worker, "0.05", prompt_usd=0.6)
    own_server.start()
    with pytest.raises(BudgetExhausted):  # 0.551 are spent, though neither Redis nor the ledger knows
        await worker.limits.reserve(a_call(prompt_usd=0.6, max_tokens=60_000))
    await spend(worker, "0.001", prompt_usd=0.6)
    ledger.spent = Decimal("0.552")
    clock.advance(70)
    async with asyncio.timeout(10):  # the first call sends for the ledger, which is read behind it
        while (await booked(worker.redis))[0] != Decimal("0.552"):
            await spend(worker, "0", prompt_usd=0.6)
    await worker.limits.reserve(a_call(prompt_usd=0.6, max_tokens=40_000))


async def test_a_redis_that_comes_and_goes_does_not_renew_the_allowance(
    workers: Workers, ledger: FakeLedger, own_server: RedisServer
) -> None:
    worker = workers(url=own_server.url, budget_allowance_usd=0.05)
    await spend(worker, "0.001", prompt_usd=100.0)
    in_outages = Decimal(0)
    for _ in range(3):
        own_server.stop()
        await let_the_loop_notice()
        in_outages += await spend_until_refused(worker, "0.01", budget=100.0)
        own_server.start()
        await spend(worker, "0.001", prompt_usd=100.0)
    assert in_outages <= Decimal("0.05")
