"""The chain that the settings describe, against the simulator as a process."""

import json
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.errors import ProviderRejectedRequest, StreamInterrupted
from gateway.providers.build import build_chain
from gateway.providers.fallback import FallbackChain
from gateway.settings import ChainSettings, ProviderSettings, Settings
from gateway.types import Completion, ModelRef
from tests.gateway.providers.fakes import collect
from tests.servers import free_port

pytestmark = pytest.mark.integration

GPT, CLAUDE = ModelRef("openai", "gpt-4.1-mini"), ModelRef("anthropic", "claude-haiku-4-5")
COMPATIBLE = ModelRef("house", "gpt-4.1-nano")
Faults = Callable[..., None]


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """Its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.simulator", "--port", str(port), "--latency-p50", "1", "--latency-p95", "2"]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=1).close()  # noqa: S310
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, "the simulator ended"
                assert time.monotonic() < deadline, "the simulator did not start"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def faults(simulator: str) -> Iterator[Faults]:
    """Puts rules in force, each a mapping as of ``PUT /admin/faults``; none are left behind."""

    def put(*rules: dict[str, Any]) -> None:
        body = json.dumps({"rules": rules}).encode()
        request = urllib.request.Request(f"{simulator}/admin/faults", body, method="PUT")  # noqa: S310
        urllib.request.urlopen(request, timeout=5).close()  # noqa: S310

    put()
    yield put
    put()


@pytest.fixture
async def chain(simulator: str) -> AsyncIterator[FallbackChain]:
    settings = Settings.model_validate(
        {
            "openai_base_url": f"{simulator}/v1",
            "openai_api_key": "test",
            "anthropic_base_url": simulator,
            "anthropic_api_key": "test",
            "providers": {"house": ProviderSettings.model_validate({"base_url": f"{simulator}/v1", "api_key": "test"})},
            "chain": ChainSettings.model_validate({"backoff_base": 0.001, "backoff_cap": 0.001}),
        }
    )
    built = build_chain(settings, SystemClock(), random.Random(1))
    yield built
    await built.aclose()


def ask(*refs: ModelRef, total: float = 10.0, first_token: float = 5.0, **params: Any) -> Completion:
    return Completion(
        call_id="call_1",
        messages=(
            {"role": "system", "content": "Answer from the context.\n\nContext:\nParcels arrive within three days."},
            {"role": "user", "content": "When do parcels arrive?"},
        ),
        params={"temperature": 0, **params},
        chain=refs,
        total_timeout=total,
        first_token_timeout=first_token,
    )


@pytest.mark.parametrize("ref", [GPT, CLAUDE, COMPATIBLE], ids=str)
async def test_every_protocol_answers_and_streams_the_same(ref: ModelRef, chain: FallbackChain, faults: Faults) -> None:
    whole = await chain.complete(ask(ref))
    text, streamed = await collect(chain.stream(ask(ref)))
    assert streamed is not None
    assert whole.text == text == streamed.text != ""
    assert whole.finish_reason == streamed.finish_reason == "stop"
    assert whole.usage == streamed.usage
    assert whole.usage.input_tokens > 5
    assert [(a.provider, a.model, a.error) for a in whole.attempts] == [(ref.provider, ref.model, "")]
    assert not whole.fell_back


@pytest.mark.parametrize("ref", [GPT, CLAUDE], ids=str)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_forced_tool_is_called(ref: ModelRef, streaming: bool, chain: FallbackChain, faults: Faults) -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
    request = ask(ref, tools=[tool], tool_choice="required")
    reply = (await collect(chain.stream(request)))[1] if streaming else await chain.complete(request)
    assert reply is not None
    function = reply.message["tool_calls"][0]["function"]
    assert function["name"] == "weather"
    assert "city" in json.loads(function["arguments"])


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("fault", "errors"),
    [
        ({"outage": True}, ["provider_unreachable"] * 2),
        ({"error_rate": 1.0, "error_status": 500}, ["provider_error"] * 2),
        ({"error_rate": 1.0, "error_status": 401}, ["provider_rejected_key"]),
        ({"rate_limit_per_minute": 0}, ["provider_rate_limited"]),
        ({"hang": True}, ["provider_timeout"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_when_the_first_provider_fails_the_second_one_answers(
    fault: dict[str, Any], errors: list[str], streaming: bool, chain: FallbackChain, faults: Faults
) -> None:
    faults({"scope": {"provider": "openai"}, **fault})
    hanging = "hang" in fault
    request = ask(GPT, CLAUDE, total=4.0 if hanging else 10.0, first_token=2.0 if hanging else 5.0)
    reply = (await collect(chain.stream(request)))[1] if streaming else await chain.complete(request)
    assert reply is not None
    assert reply.provider == "anthropic"
    assert reply.fell_back
    assert [a.error for a in reply.attempts] == [*errors, ""]


async def test_half_an_answer_falls_back(chain: FallbackChain, faults: Faults) -> None:
    faults({"scope": {"provider": "openai"}, "malformed": True})
    reply = await chain.complete(ask(GPT, CLAUDE))
    assert [a.error for a in reply.attempts] == ["provider_malformed", "provider_malformed", ""]


@pytest.mark.parametrize("ref", [GPT, CLAUDE], ids=str)
async def test_a_cut_in_the_middle_of_a_stream_is_told(ref: ModelRef, chain: FallbackChain, faults: Faults) -> None:
    faults({"scope": {"provider": ref.provider}, "cut_after_chunks": 5})
    with pytest.raises(StreamInterrupted):
        await collect(chain.stream(ask(ref, GPT)))


async def test_a_wrong_request_is_the_caller_s_and_nobody_else_is_asked(chain: FallbackChain, faults: Faults) -> None:
    faults({"scope": {"provider": "openai"}, "error_rate": 1.0, "error_status": 400})
    with pytest.raises(ProviderRejectedRequest):
        await chain.complete(ask(GPT, CLAUDE))
