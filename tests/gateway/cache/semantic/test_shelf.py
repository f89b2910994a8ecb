"""Parts of the index follow their streams: real Redis, several workers, streams that are lost, damaged or foreign."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.cache.semantic.index import SimilarIndex
from gateway.cache.semantic.items import MAGIC, encode_item
from gateway.cache.semantic.shelf import FOLLOW_EVERY, FOLLOW_FIRST, Shelf
from gateway.clock import ManualClock
from gateway.storage.redis_line import RedisLine
from tests.gateway.cache.semantic.vectors import ExactGraph, unit
from tests.servers import RedisServer, let_the_loop_notice

PART = "py:s:{acme|help@1}:0123"


@pytest.fixture
def end(clock: ManualClock) -> float:
    return clock.now() + 100


def shelf(redis: Redis, clock: ManualClock, **bounds: Any) -> Shelf:
    fields: dict[str, Any] = {"new_index": SimilarIndex} | bounds
    return Shelf(RedisLine(redis, timeout=1.0), clock=clock, **fields)


async def texts(one: Shelf, clock: ManualClock, part: str = PART) -> list[str]:
    """What the worker knows, once it has caught up."""
    clock.advance(FOLLOW_EVERY)
    await one.index(part)
    await one.settle()
    index = await one.index(part)
    assert index is not None
    return sorted(near.text for near in await index.nearest(unit(16, 0), 1_000, clock.now()))


async def test_a_worker_that_has_not_loaded_a_part_says_so(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    first, second = shelf(cache_redis, clock), shelf(cache_redis, clock)
    assert await first.index(PART) is None
    assert await first.add(PART, "a", unit(16, 1), end)
    assert await second.index(PART) is None
    assert await texts(second, clock) == ["a"]


async def test_what_one_worker_learns_all_others_follow(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    workers = [shelf(cache_redis, clock) for _ in range(3)]
    for number in range(450):  # more than two pages
        await workers[number % 3].add(PART, f"q{number}", unit(16, number), end)
    expected = sorted(f"q{number}" for number in range(450))
    assert [await texts(one, clock) for one in workers] == [expected] * 3
    await workers[0].add(PART, "another", unit(16, 1_000), end)
    assert [("another" in await texts(one, clock)) for one in workers] == [True] * 3


async def test_after_a_while_without_calls_the_next_one_waits_for_what_it_missed(
    cache_redis: Redis, clock: ManualClock, end: float
) -> None:
    one, other = shelf(cache_redis, clock), shelf(cache_redis, clock)
    assert await texts(one, clock) == []
    await other.add(PART, "a", unit(16, 1), end)
    clock.advance(FOLLOW_FIRST)
    index = await one.index(PART)
    assert index is not None
    assert "a" in index


async def test_parts_know_nothing_of_each_other(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    one = shelf(cache_redis, clock)
    await one.add(PART, "a", unit(16, 1), end)
    assert await texts(one, clock, "py:s:{other|help@1}:0123") == []


async def test_damaged_and_foreign_items_are_passed_over(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    one = shelf(cache_redis, clock)
    await one.add(PART, "first", unit(16, 1), end)
    damaged = bytearray(encode_item("damaged", unit(16, 1), end))
    damaged[-1] ^= 1
    await cache_redis.xadd(PART, {"i": bytes(damaged)})
    await cache_redis.xadd(PART, {"i": MAGIC})
    await cache_redis.xadd(PART, {"i": b""})
    await cache_redis.xadd(PART, {"x": "1", "y": "2"})
    await cache_redis.xadd(PART, {"i": encode_item("of another model", unit(12, 1), end)})
    await one.add(PART, "last", unit(16, 2), end)
    assert await texts(one, clock) == ["first", "last"]
    assert await texts(shelf(cache_redis, clock), clock) == ["first", "last"]


async def test_an_ended_question_is_not_loaded(cache_redis: Redis, clock: ManualClock) -> None:
    await shelf(cache_redis, clock).add(PART, "short", unit(16, 1), clock.now() + 1)
    await cache_redis.persist(PART)
    clock.advance(2)
    assert await texts(shelf(cache_redis, clock), clock) == []


async def test_a_key_of_another_type_is_an_empty_part(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    await cache_redis.set(PART, "somebody else's")
    one = shelf(cache_redis, clock)
    assert await texts(one, clock) == []
    assert not await one.add(PART, "a", unit(16, 1), end)


async def test_an_emptied_redis_is_learned_anew(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    one, other = shelf(cache_redis, clock), shelf(cache_redis, clock)
    await one.add(PART, "before", unit(16, 1), end)
    assert await texts(other, clock) == ["before"]
    await cache_redis.flushall()
    await one.add(PART, "after", unit(16, 2), end)
    assert "after" in await texts(other, clock)
    assert await texts(shelf(cache_redis, clock), clock) == ["after"]


async def test_a_stream_of_a_server_whose_clock_is_behind_is_read_from_its_beginning(
    cache_redis: Redis, clock: ManualClock, end: float
) -> None:
    one = shelf(cache_redis, clock)
    await one.add(PART, "before", unit(16, 1), end)
    assert await texts(one, clock) == ["before"]
    await cache_redis.flushall()
    await cache_redis.xadd(PART, {"i": encode_item("after", unit(16, 2), end)}, id="5-1")
    assert "after" in await texts(one, clock)


async def test_streams_are_bounded_in_length_and_lifetime(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    one = shelf(cache_redis, clock, most=100)
    for number in range(600):
        await one.add(PART, f"q{number}", unit(16, number), end)
    assert await cache_redis.xlen(PART) < 320  # Redis trims whole nodes of 100
    assert 0 < await cache_redis.pttl(PART) <= 100_000


async def test_parts_and_their_size_are_bounded(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    few = shelf(cache_redis, clock, parts=3)
    for number in range(10):
        await few.index(f"{PART}{number}")
    assert len(few) == 3
    await few.settle()
    small = shelf(cache_redis, clock, cells=16 * 25)
    for part in ("a", "b", "c"):
        for number in range(10):
            await small.add(PART + part, f"q{number}", unit(16, number), end)
        await small.settle()
    assert len(small) == 2


async def test_a_full_block_is_sealed_in_the_background(cache_redis: Redis, clock: ManualClock, end: float) -> None:
    one = shelf(cache_redis, clock, new_index=lambda: SimilarIndex(block=10, build=ExactGraph))
    for number in range(35):
        await one.add(PART, f"q{number}", unit(16, number), end)
    assert len(await texts(one, clock)) == 35
    index = await one.index(PART)
    assert index is not None
    assert not index.sealable


async def test_without_redis_a_worker_goes_on_with_what_it_knows(
    cache_server: RedisServer, cache_redis: Redis, clock: ManualClock, end: float
) -> None:
    one = shelf(cache_redis, clock)
    await one.add(PART, "a", unit(16, 1), end)
    assert await texts(one, clock) == ["a"]
    cache_server.kill()
    try:
        await let_the_loop_notice()
        assert not await one.add(PART, "b", unit(16, 2), end)
        assert await texts(one, clock) == ["a"]
        assert await texts(shelf(cache_redis, clock), clock) == []
    finally:
        cache_server.start()
    await asyncio.sleep(0)
    assert await one.add(PART, "c", unit(16, 3), end)
    assert await texts(one, clock) == ["a", "c"]
