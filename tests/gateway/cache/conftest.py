"""Two real Redis servers, as in production: a cache that evicts, and a state that keeps and appends to a log."""

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.clock import ManualClock
from gateway.storage.redis_store import connect
from tests.servers import CACHE_ROLE, STATE_ROLE, RedisServer, start_redis

TIMEOUT = 1.0


@pytest.fixture(scope="session")
def cache_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("cache-redis"), *CACHE_ROLE)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def state_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("state-redis"), *STATE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def cache_redis(cache_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(cache_server.url, timeout=TIMEOUT, connections=16) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
async def state_redis(state_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect(state_server.url, timeout=TIMEOUT, connections=16, guarded=True) as redis:
        await redis.flushall()
        await redis.connection_pool.disconnect()  # the next connection's guard finds an empty server, as at its birth
        await redis.ping()
        yield redis


@pytest.fixture
def epochs(state_redis: Redis, clock: ManualClock) -> Epochs:
    return Epochs(state_redis, clock=clock, timeout=TIMEOUT)


@pytest.fixture
def cache(cache_redis: Redis, epochs: Epochs, clock: ManualClock) -> ExactCache:
    return ExactCache(cache_redis, epochs, clock=clock, entropy=random.Random(7), timeout=TIMEOUT)
