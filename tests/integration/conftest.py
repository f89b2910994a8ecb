"""A stack of its own: these tests take its servers down and bring them back."""

from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, gateway_stack, unique


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with gateway_stack(tmp_path_factory.mktemp("outages"), redis_timeout=0.5) as running:
        yield running


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    """With a key that the gateway has seen, so that it is known while SQL is away."""
    opened = open_shop(stack, unique("tenant"), unique("help"))
    opened.answer()
    yield opened
    opened.openai.close()
    opened.http.close()


@pytest.fixture
def ready(stack: Stack) -> Iterator[httpx.Client]:
    with stack.http() as http:
        yield http
