import asyncio
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.cache.epochs import PENDING_SECONDS, UNKNOWN, Epochs
from gateway.cache.exact import ExactCache
from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable
from gateway.storage.redis_store import connect
from tests.gateway.cache.conftest import TIMEOUT
from tests.gateway.cache.specimens import MANAGED, REPLY
from tests.servers import STATE_ROLE, RedisServer, let_the_loop_notice, start_redis

HELP = ("acme", "help")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A state Redis that a test may stop."""
    server = start_redis(tmp_path / "state", *STATE_ROLE)
    yield server
    server.stop()


async def test_an_epoch_stays_until_a_change_is_published(epochs: Epochs) -> None:
    first = await epochs.current(*HELP)
    assert first
    assert first.count(".") == 1
    assert await epochs.current(*HELP) == first
    token = await epochs.begin(*HELP)
    assert await epochs.current(*HELP) == UNKNOWN
    published = await epochs.publish(*HELP, token)
    assert published not in ("", first)
    assert await epochs.current(*HELP) == published


async def test_an_abandoned_change_leaves_the_epoch(epochs: Epochs) -> None:
    first = await epochs.current(*HELP)
    token = await epochs.begin(*HELP)
    await epochs.abandon(*HELP, token)
    assert await epochs.current(*HELP) == first


async def test_concurrent_readers_of_a_missing_epoch_agree(epochs: Epochs) -> None:
    assert len(set(await asyncio.gather(*(epochs.current(*HELP) for _ in range(100))))) == 1


HOSTILE = ["a", "a/b", "a%2Fb", "{a}", "}", "a\n", "é", "", "\ud800", "generation", "run_id"]


async def test_collections_and_tenants_do_not_share_epochs(epochs: Epochs) -> None:
    pairs = list(itertools.product(HOSTILE, HOSTILE))
    seen = [await epochs.current(*pair) for pair in pairs]
    assert all(seen)
    assert len(set(seen)) == len(pairs)
    token = await epochs.begin("a", "a/b")
    await epochs.publish("a", "a/b", token)
    assert [await epochs.current(*pair) for pair in pairs if pair != ("a", "a/b")] == [
        epoch for pair, epoch in zip(pairs, seen, strict=True) if pair != ("a", "a/b")
    ]


async def test_two_writers_at_once(epochs: Epochs) -> None:
    first = await epochs.current(*HELP)
    one, other = await epochs.begin(*HELP), await epochs.begin(*HELP)
    assert one != other
    published = await epochs.publish(*HELP, one)
    assert await epochs.current(*HELP) == UNKNOWN, "the other change is still under way"
    last = await epochs.publish(*HELP, other)
    assert len({first, published, last}) == 3
    assert await epochs.current(*HELP) == last


async def test_one_writer_gives_up_and_the_other_does_not(epochs: Epochs) -> None:
    first = await epochs.current(*HELP)
    one, other = await epochs.begin(*HELP), await epochs.begin(*HELP)
    await epochs.abandon(*HELP, one)
    assert await epochs.current(*HELP) == UNKNOWN
    assert await epochs.publish(*HELP, other) == await epochs.current(*HELP) != first


async def test_a_mark_that_nobody_takes_back_heals(epochs: Epochs, clock: ManualClock, state_redis: Redis) -> None:
    first = await epochs.current(*HELP)
    await epochs.begin(*HELP)
    clock.advance(PENDING_SECONDS / 2)
    await epochs.begin(*HELP)
    clock.advance(PENDING_SECONDS / 2)
    assert await epochs.current(*HELP) == UNKNOWN, "the second mark still stands"
    clock.advance(PENDING_SECONDS / 2)
    healed = set(await asyncio.gather(*(epochs.current(*HELP) for _ in range(20))))
    assert len(healed) == 1
    assert healed.isdisjoint({"", first})
    assert await state_redis.hlen("py:{epoch}:acme/help") == 1, "no mark is left"


async def test_a_writer_that_comes_back_late_still_gets_a_new_epoch(epochs: Epochs, clock: ManualClock) -> None:
    token = await epochs.begin(*HELP)
    clock.advance(PENDING_SECONDS)
    healed = await epochs.current(*HELP)
    assert await epochs.publish(*HELP, token) not in ("", healed)


async def test_an_emptied_redis_means_new_epochs(epochs: Epochs, state_redis: Redis) -> None:
    first = await epochs.current(*HELP)
    token = await epochs.begin(*HELP)
    await state_redis.flushall()
    after = await epochs.current(*HELP)
    assert after not in ("", first)
    assert await epochs.publish(*HELP, token) not in ("", first, after)


async def test_a_full_redis_is_unknown_and_refuses_changes(epochs: Epochs, state_redis: Redis) -> None:
    await epochs.current(*HELP)
    await epochs.current("acme", "warm")  # the scripts are loaded
    await state_redis.config_set("maxmemory", "1")
    try:
        assert await epochs.current("acme", "never seen") == UNKNOWN
        with pytest.raises(StorageUnavailable):
            await epochs.begin(*HELP)
    finally:
        await state_redis.config_set("maxmemory", "0")


async def test_a_stopped_or_slow_redis(own_server: RedisServer, clock: ManualClock) -> None:
    async with connect(own_server.url, timeout=0.3, connections=4, guarded=True) as redis:
        epochs = Epochs(redis, clock=clock, timeout=0.3)
        first = await epochs.current(*HELP)
        token = await epochs.begin(*HELP)
        own_server.pause()
        async with asyncio.timeout(0.3 + 1):
            assert await epochs.current(*HELP) == UNKNOWN
        own_server.stop()
        assert await epochs.current(*HELP) == UNKNOWN
        for step in (epochs.begin(*HELP), epochs.publish(*HELP, token), epochs.abandon(*HELP, token)):
            with pytest.raises(StorageUnavailable) as raised:
                await step
            assert raised.value.retryable
        own_server.start()
        await let_the_loop_notice()
        assert await epochs.publish(*HELP, token) == await epochs.current(*HELP) != first


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "without the guard, as a control"])
async def test_a_crash_that_lost_the_last_change_serves_nothing_old(
    own_server: RedisServer, cache_redis: Redis, clock: ManualClock, guarded: bool
) -> None:
    async with connect(own_server.url, timeout=TIMEOUT, connections=4, guarded=guarded) as redis:
        epochs = Epochs(redis, clock=clock, timeout=TIMEOUT)
        cache = ExactCache(cache_redis, epochs, clock=clock, entropy=random.Random(1), timeout=TIMEOUT)
        old = replace(MANAGED, epoch=await epochs.current(*HELP))
        assert await cache.keep(old, REPLY) == "kept"
        on_disk = own_server.append_only_file
        flushed = on_disk.with_suffix(".flushed")
        shutil.copy(on_disk, flushed)
        token = await epochs.begin(*HELP)
        await epochs.publish(*HELP, token)  # acknowledged ...
        own_server.kill()
        shutil.move(flushed, on_disk)  # ... and lost: what was appended since had not reached the disk
        own_server.start()
        await let_the_loop_notice()
        restored = replace(MANAGED, epoch=await epochs.current(*HELP))
        assert restored.epoch
        found = await cache.find(restored)
        late = await cache.keep(old, REPLY)
        assert (found.reason, late) == (("epoch", "epoch") if guarded else ("hit", "kept"))


async def test_the_epoch_is_one_round_trip(epochs: Epochs, state_redis: Redis) -> None:
    async def calls() -> tuple[int, int]:
        told = await state_redis.info("commandstats")
        return told["cmdstat_evalsha"]["calls"], told.get("cmdstat_eval", {"calls": 0})["calls"]

    await epochs.current(*HELP)
    scripts, guards = await calls()
    for _ in range(5):
        await epochs.current(*HELP)
    assert await calls() == (scripts + 5, guards)
