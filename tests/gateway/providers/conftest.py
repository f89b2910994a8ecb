from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from gateway.clock import ManualClock
from gateway.providers.base import Provider
from gateway.providers.build import factory
from gateway.settings import ChainSettings, ProviderSettings
from gateway.storage.redis_store import connect as connect_redis
from tests.gateway.providers.scripted_server import Server, serve
from tests.servers import STATE_ROLE, RedisServer, start_redis

SECRET = "sk-very-secret-0123456789"
Connect = Callable[[str], Provider]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve() as running:
        yield running


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    """A provider of the protocol by name, talking to ``server``."""
    opened: list[Provider] = []

    def make(protocol: str) -> Provider:
        settings = ProviderSettings.model_validate(
            {"protocol": protocol, "base_url": server.url, "api_key": SecretStr(SECRET)}
        )
        opened.append(factory(protocol)(protocol, settings, ChainSettings(), ManualClock()))
        return opened[-1]

    yield make
    for provider in opened:
        await provider.aclose()


@pytest.fixture(scope="session")
def state_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("providers-redis"), *STATE_ROLE)
    yield server
    server.stop()


@pytest.fixture
async def state_redis(state_server: RedisServer) -> AsyncIterator[Redis]:
    async with connect_redis(state_server.url, timeout=2.0, connections=8) as redis:
        await redis.flushall()
        yield redis
