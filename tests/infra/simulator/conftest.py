"""A simulator on a real server for the SDKs, and one in the process for what needs no socket."""

import socket
import threading
import time
from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from infra.simulator.app import build_app
from infra.simulator.faults import Latency
from infra.simulator.server import build_server

_START_SECONDS = 10.0


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    """The base URL of a simulator without latency."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = build_server(build_app(seed=7, latency=Latency(0, 0)), "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        _await_ready(url)
        yield url
        server.should_exit = True
        thread.join(timeout=_START_SECONDS)


@pytest.fixture
def base_url(served: str) -> Iterator[str]:
    """The same simulator, with no faults and no counts."""
    with httpx.Client(base_url=served, timeout=5) as admin:
        admin.delete("/admin/faults")
        admin.delete("/admin/stats")
        yield served
        admin.delete("/admin/faults")


@pytest.fixture(scope="session")
def openai_session(served: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served}/v1", api_key="any", max_retries=0, timeout=10)


@pytest.fixture(scope="session")
def anthropic_session(served: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served, api_key="any", max_retries=0, timeout=10)


@pytest.fixture
def openai_client(base_url: str, openai_session: openai.OpenAI) -> openai.OpenAI:
    """The real SDK, talking to a simulator without faults."""
    return openai_session


@pytest.fixture
def anthropic_client(base_url: str, anthropic_session: anthropic.Anthropic) -> anthropic.Anthropic:
    """The real SDK, talking to a simulator without faults."""
    return anthropic_session


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/healthz", timeout=1)
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
