from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from gateway.clock import ManualClock
from gateway.providers.base import Provider
from gateway.providers.build import factory
from gateway.settings import ChainSettings, ProviderSettings
from tests.gateway.providers.scripted_server import Server, serve

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
