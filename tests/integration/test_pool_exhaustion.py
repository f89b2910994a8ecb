"""When every connection to a Redis is taken or stuck, calls wait a bounded time and go on uncached."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from gateway.storage.line import line_for
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, gateway_stack, unique, until
from tests.servers import CACHE_ROLE, RedisServer, start_redis

pytestmark = pytest.mark.integration

TIMEOUT, CONNECTIONS, CALLS = 0.25, 8, 40
PAUSE = 5.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("narrow")
    with gateway_stack(home, redis_timeout=TIMEOUT, redis_connections=CONNECTIONS) as running:
        yield running


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    opened = open_shop(stack, unique("tenant"), unique("help"))
    yield opened
    opened.openai.close()
    opened.http.close()


def pause(server: RedisServer) -> None:
    """It takes commands for ``PAUSE`` seconds and answers none, whatever connection they come by."""
    with Redis(port=server.port, socket_timeout=5) as redis:
        redis.client_pause(int(PAUSE * 1000))


@pytest.mark.parametrize("which", ["cache", "state", "both"])
def test_calls_are_answered_uncached_within_bounds(stack: Stack, shop: Shop, which: str) -> None:
    until("cached", lambda: shop.answer()[1] == "exact")
    servers = {"cache": [stack.cache_redis], "state": [stack.state_redis]}
    chosen = servers.get(which) or [stack.cache_redis, stack.state_redis]

    def call(number: int) -> tuple[int, str]:
        answer = shop.ask(f"When do parcels arrive, take {number}?")
        return answer.status_code, answer.json()["promptyard"]["cache"]["layer"]

    with ThreadPoolExecutor(CALLS) as threads:
        begun = time.monotonic()
        for server in chosen:
            pause(server)
        outcomes = list(threads.map(call, range(CALLS)))
        assert time.monotonic() - begun < PAUSE  # all of them have met it
    assert set(outcomes) == {(200, "none")}
    until("cached again", lambda: shop.answer()[1] == "exact")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("held"), *CACHE_ROLE)
    yield server
    server.stop()


async def test_a_line_waits_for_a_connection_that_becomes_free_and_for_none_longer(server: RedisServer) -> None:
    async with connect(server.url, timeout=TIMEOUT, connections=CONNECTIONS) as redis:
        line = line_for(redis, timeout=TIMEOUT)
        held = [await redis.connection_pool.get_connection() for _ in range(CONNECTIONS)]
        begun = asyncio.get_running_loop().time()
        replies = await asyncio.gather(*(line.ask("GET", "a") for _ in range(CALLS)), return_exceptions=True)
        waited = asyncio.get_running_loop().time() - begun
        assert all(isinstance(reply, REDIS_TROUBLE) for reply in replies)
        assert TIMEOUT * 0.9 < waited < TIMEOUT + 1
        asked = line.ask("GET", "a")
        await asyncio.sleep(0)
        await redis.connection_pool.release(held.pop())
        assert await asked is None
        await redis.connection_pool.release(held.pop())


async def test_more_callers_than_connections_take_turns(server: RedisServer) -> None:
    async with connect(server.url, timeout=5, connections=CONNECTIONS) as redis:
        turns = await asyncio.gather(*(redis.incr("turns") for _ in range(200)))
        assert sorted(turns) == list(range(1, 201))
        assert (await redis.info("clients"))["connected_clients"] <= CONNECTIONS
