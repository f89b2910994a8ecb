"""GCRA in Redis against a model of it, and against the promise that users read."""

import asyncio
from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.limits.buckets import Bucket, Buckets, Taken, taken
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from tests.servers import RedisServer

START = 1_700_000_000.0


class Model:
    """A bucket in exact fractions: what is in it leaks at ``limit`` a minute."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.level = Fraction(0)
        self.emptied = 0
        """How often it ran dry: what was taken before is gone as a whole."""

    def leak(self, microseconds: int) -> None:
        self.level -= Fraction(self.limit * microseconds, 60_000_000)
        if self.level <= 0:
            self.level = Fraction(0)

    def take(self, cost: int) -> float:
        over = self.level + min(cost, self.limit) - self.limit
        if over > 0:
            return float(over / self.limit * 60)
        if self.level == 0:
            self.emptied += 1
        self.level += cost
        return 0.0

    def correct(self, change: int, period: int) -> None:
        if change > 0 or (period == self.emptied and self.level > 0):
            self.level = max(self.level + change, Fraction(0))


class Harness:
    """An event loop and a client for tests that hypothesis calls many times."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.clock = ManualClock(START)
        self.redis: Redis = self.runner.run(self._connect(url))
        self.number = 0

    async def _connect(self, url: str) -> Redis:
        redis = connect(url, timeout=1.0, connections=2)
        self.buckets = Buckets(RedisLine(redis, timeout=1.0), self.clock.now)
        return redis

    def bucket(self, limit: int) -> Bucket:
        self.number += 1
        return Bucket(f"test:{self.number}", limit)

    def take(self, bucket: Bucket, cost: int = 1) -> Taken:
        async def ask() -> Taken:
            return taken(await self.buckets.take((bucket,), (cost,), (1,)))

        return self.runner.run(ask())

    def correct(self, bucket: Bucket, change: int, busy: str) -> None:
        async def ask() -> None:
            await self.buckets.correct((bucket,), (change,), (busy,), (0,))

        self.runner.run(ask())

    def close(self) -> None:
        self.runner.run(self.redis.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def harness(state_server: RedisServer) -> Iterator[Harness]:
    made = Harness(state_server.url)
    yield made
    made.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("pass"), st.integers(1, 40_000_000)),
        st.tuples(st.just("correct"), st.integers(-40, 40)),
    ),
    max_size=25,
)
RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@RELAXED
@given(limit=st.integers(1, 60), steps=STEPS)
def test_it_decides_as_the_model_does(harness: Harness, limit: int, steps: list[tuple[str, int]]) -> None:
    bucket, model = harness.bucket(limit), Model(limit)
    periods: deque[tuple[str, int, int]] = deque()
    now = round(harness.clock.now() * 1_000_000)
    for step, amount in steps:
        if step == "pass":
            harness.clock.advance(amount / 1_000_000)
            passed = round(harness.clock.now() * 1_000_000) - now  # a double holds a quarter of a microsecond
            now += passed
            model.leak(passed)
        elif step == "take":
            wanted, found = model.take(amount), harness.take(bucket, amount)
            assert found.wait == pytest.approx(wanted, abs=2e-6)
            if not found.wait:
                periods.append((found.busy[0], model.emptied, amount))
        elif periods:
            busy, period, cost = periods.popleft()
            change = max(amount, -cost)  # nobody gives back more than was taken
            model.correct(change, period)
            harness.correct(bucket, change, busy)


@RELAXED
@given(limit=st.integers(1, 20), gaps=st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_no_stretch_of_time_gets_more_than_it_should(harness: Harness, limit: int, gaps: list[float]) -> None:
    bucket, admitted = harness.bucket(limit), []
    for gap in gaps:
        harness.clock.advance(gap)
        if not harness.take(bucket).wait:
            admitted.append(harness.clock.now())
    for first, begin in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= limit * (1 + (admitted[last] - begin) / 60) + 1e-4


@RELAXED
@given(limit=st.integers(1, 1000), cost=st.integers(1, 5000), before=st.integers(0, 4000))
def test_after_the_wait_it_fits_and_not_before(harness: Harness, limit: int, cost: int, before: int) -> None:
    bucket = harness.bucket(limit)
    harness.take(bucket, limit + before)
    wait = harness.take(bucket, cost).wait
    harness.clock.advance(wait - 0.005)
    assert harness.take(bucket, cost).wait > 0
    harness.clock.advance(0.006)
    assert harness.take(bucket, cost).wait == 0.0


def test_what_was_taken_before_it_ran_dry_is_not_given_back(harness: Harness) -> None:
    bucket = harness.bucket(60)
    early = harness.take(bucket, 60)
    harness.clock.advance(60)
    assert harness.take(bucket, 60).wait == 0.0
    harness.correct(bucket, -60, early.busy[0])
    assert harness.take(bucket, 1).wait == pytest.approx(1.0)


def test_usage_counts_by_the_minute_of_the_clock(harness: Harness) -> None:
    bucket = harness.bucket(10)
    harness.clock.advance(60 - harness.clock.now() % 60)
    assert [harness.take(bucket).used for _ in range(3)] == [(1,), (2,), (3,)]
    harness.clock.advance(60)
    assert harness.take(bucket).used == (1,)


def test_all_buckets_or_none(harness: Harness) -> None:
    wide, narrow = harness.bucket(10), harness.bucket(1)

    async def both() -> Taken:
        return taken(await harness.buckets.take((wide, narrow), (1, 1), (1, 1)))

    assert harness.runner.run(both()).used == (1, 1)
    refused = harness.runner.run(both())
    assert refused.wait == pytest.approx(60.0)
    assert refused.which == 1
    assert harness.take(wide).used == (2,), "what one refuses, the other does not count"


def test_an_idle_bucket_leaves_nothing_behind(harness: Harness) -> None:
    bucket = harness.bucket(60)
    harness.take(bucket, 30)

    async def lives() -> int:
        return int(await harness.redis.pttl(bucket.key))

    assert 60_000 < harness.runner.run(lives()) <= 90_000


def test_by_the_servers_own_time_a_wrong_clock_changes_nothing(harness: Harness) -> None:
    bucket = harness.bucket(1)

    async def twice() -> tuple[Taken, Taken]:
        by_server = Buckets(RedisLine(harness.redis, timeout=1.0))
        first = taken(await by_server.take((bucket,), (1,), (1,)))
        harness.clock.advance(3600)
        return first, taken(await by_server.take((bucket,), (1,), (1,)))

    first, second = harness.runner.run(twice())
    assert first.wait == 0.0
    assert 50 < second.wait <= 60
