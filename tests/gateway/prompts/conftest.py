"""A state Redis for all of these tests, emptied after each."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from gateway.prompts.routing_store import RoutingStore
from gateway.storage.redis_store import connect
from tests.servers import STATE_ROLE, RedisServer, start_redis


@pytest.fixture(scope="session")
def state_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("routing-redis"), *STATE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def redis(state_redis: RedisServer) -> AsyncIterator[Redis]:
    client = connect(state_redis.url, timeout=2, connections=8)
    yield client
    await client.flushall()
    await client.aclose()


@pytest.fixture
def store(redis: Redis) -> RoutingStore:
    return RoutingStore(redis)
