"""Behind a real Sentinel: the master is found, and found again, and nobody goes on with one that was replaced."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cache.epochs import Epochs
from gateway.clock import SystemClock
from gateway.storage.line import line_for
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from tests.redis_cluster import Watched, watched_redis

pytestmark = pytest.mark.integration

TIMEOUT = 0.3


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with watched_redis(tmp_path) as running:
        yield running


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_after_a_failover_all_epochs_are_others_also_when_the_old_master_wakes_up(
    watched: Watched, how: str
) -> None:
    redis = connect(watched.url, timeout=TIMEOUT, connections=4, guarded=True)
    epochs = Epochs(redis, clock=SystemClock(), timeout=TIMEOUT, line=line_for(redis, timeout=TIMEOUT))
    before = await epochs.current("t", "c")
    assert before
    assert await redis.ping()
    old = watched.master()
    old.kill() if how == "kill" else old.pause()
    async with asyncio.timeout(20):
        while True:  # only this connection notices: nothing is asked by the line meanwhile
            try:
                await redis.set("written", "anew")
                break
            except REDIS_TROUBLE:
                await asyncio.sleep(0.05)
    if how == "pause":
        old.resume()
    after = await epochs.current("t", "c") or await epochs.current("t", "c")  # the first may meet a closed connection
    assert watched.master() is not old
    assert after != before
    await redis.aclose()


async def test_without_any_sentinel_it_fails_within_the_time_out() -> None:
    async with connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2/yard", timeout=TIMEOUT, connections=2) as redis:
        line = line_for(redis, timeout=TIMEOUT)
        async with asyncio.timeout(3 * TIMEOUT + 1):
            for _ in range(3):
                with pytest.raises(REDIS_TROUBLE):
                    await line.ask("GET", "a")


async def test_more_callers_than_connections_take_turns(watched: Watched) -> None:
    async with connect(watched.url, timeout=5, connections=2) as redis:
        turns = await asyncio.gather(*(redis.incr("turns") for _ in range(100)))
        assert sorted(turns) == list(range(1, 101))
        assert await redis.get("turns") == b"100"
