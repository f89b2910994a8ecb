import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.storage.redis_store import GENERATION_KEY, REDIS_TROUBLE, RUN_ID_KEY, connect
from tests.servers import STATE_ROLE, RedisServer, let_the_loop_notice, start_redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = start_redis(tmp_path, *STATE_ROLE)
    yield server
    server.stop()


def guarded(server: RedisServer, *, timeout: float = 1.0, connections: int = 8) -> Redis:
    return connect(server.url, timeout=timeout, connections=connections, guarded=True)


async def test_nothing_is_opened_before_the_first_command() -> None:
    async with connect("redis://127.0.0.1:1/0", timeout=0.1, connections=1) as redis:
        with pytest.raises(REDIS_TROUBLE):
            await redis.get("x")


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="scheme"):
        connect("http://127.0.0.1:1/0", timeout=0.1, connections=1)


async def test_the_pool_is_bounded_and_waiting_for_it_ends(server: RedisServer) -> None:
    async with connect(server.url, timeout=0.2, connections=2) as redis:
        await asyncio.gather(*(redis.get("x") for _ in range(50)))
        assert (await redis.info("clients"))["connected_clients"] <= 2
        server.pause()
        async with asyncio.timeout(0.2 + 1):
            outcomes = await asyncio.gather(*(redis.get("x") for _ in range(10)), return_exceptions=True)
        assert all(isinstance(outcome, REDIS_TROUBLE) for outcome in outcomes)
        assert any(isinstance(outcome, RedisConnectionError) for outcome in outcomes)
        server.resume()
        assert await redis.get("x") is None


async def test_idle_connections_survive_a_restart_of_the_server(server: RedisServer) -> None:
    async with connect(server.url, timeout=1, connections=2) as redis:
        await redis.set("x", "1")
        server.restart()
        await let_the_loop_notice()
        assert await redis.get("x") == b"1"


async def test_without_the_guard_nothing_is_written(server: RedisServer) -> None:
    async with connect(server.url, timeout=1, connections=2) as redis:
        await redis.get("x")
        assert await redis.dbsize() == 0


async def test_a_restart_replaces_the_generation_and_a_new_connection_does_not(server: RedisServer) -> None:
    async with guarded(server) as one, guarded(server) as other:
        generation = await one.get(GENERATION_KEY)
        assert generation is not None
        assert await other.get(GENERATION_KEY) == generation
        await one.connection_pool.disconnect()
        assert await one.get(GENERATION_KEY) == generation
        server.restart()
        await let_the_loop_notice()
        replaced = await other.get(GENERATION_KEY)
        assert replaced not in (None, generation)
        assert await one.get(GENERATION_KEY) == replaced, "the second to come finds the run id of this run"
        assert await one.get(RUN_ID_KEY) == (await one.info("server"))["run_id"].encode()


async def test_all_who_come_at_once_after_a_crash_agree(server: RedisServer) -> None:
    async with guarded(server, connections=32) as redis:
        before = await redis.get(GENERATION_KEY)
        server.kill()
        server.start()
        await let_the_loop_notice()
        seen = set(await asyncio.gather(*(redis.get(GENERATION_KEY) for _ in range(200))))
        assert len(seen) == 1
        assert seen != {before}


async def test_a_connection_whose_guard_was_interrupted_is_not_used(server: RedisServer) -> None:
    async with guarded(server, connections=1) as redis:
        before = await redis.get(GENERATION_KEY)
        await redis.connection_pool.disconnect()
        await _overwrite(server, RUN_ID_KEY, "another run")
        server.pause()
        impatient = asyncio.ensure_future(redis.get(GENERATION_KEY))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(impatient, 0.1)  # cancelled between connecting and the guard's answer
        server.resume()
        after = await redis.get(GENERATION_KEY)
        assert after not in (None, before)
        assert await redis.get(RUN_ID_KEY) != b"another run"


async def test_a_server_that_will_not_be_guarded_is_not_used(server: RedisServer) -> None:
    async with connect(server.url, timeout=1, connections=1) as admin:
        await admin.config_set("maxmemory", "1")
    async with guarded(server) as redis:
        with pytest.raises(REDIS_TROUBLE):
            await redis.get("x")


async def _overwrite(server: RedisServer, key: str, value: str) -> None:
    async with connect(server.url, timeout=1, connections=1) as admin:
        await admin.set(key, value)
