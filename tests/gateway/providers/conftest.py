from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from gateway.clock import ManualClock
from gateway.providers.anthropic import anthropic_provider
from gateway.providers.openai import openai_provider
from gateway.providers.wire import WireProvider
from gateway.settings import ChainSettings, ProviderSettings
from tests.gateway.providers.scripted_server import Server, serve

SECRET = "sk-very-secret-0123456789"
Connect = Callable[[str], WireProvider]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve() as running:
        yield running


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    """A provider of the protocol by name, talking to ``server``."""
    opened: list[WireProvider] = []

    def make(protocol: str) -> WireProvider:
        build = {"openai": openai_provider, "anthropic": anthropic_provider}[protocol]
        settings = ProviderSettings.model_validate(
            {"protocol": protocol, "base_url": server.url, "api_key": SecretStr(SECRET)}
        )
        opened.append(build(protocol, settings, ChainSettings(), ManualClock()))
        return opened[-1]

    yield make
    for provider in opened:
        await provider.aclose()
