"""The README's example of a new provider is taken as it stands there, found by its name, and works."""

import importlib
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import SecretStr, ValidationError

from gateway.clock import ManualClock
from gateway.errors import ProviderError, ProviderMalformed, ProviderOverloaded, ProviderRateLimited, StreamInterrupted
from gateway.providers.build import build_chain, factory
from gateway.providers.fallback import FallbackChain
from gateway.settings import ChainSettings, ProviderSettings, Settings
from gateway.types import Completion, ModelRef, Usage
from tests.gateway.providers.conftest import SECRET
from tests.gateway.providers.fakes import collect
from tests.gateway.providers.scripted_server import Server, answers, streams

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
REF = ModelRef("acme", "one")
REQUEST = Completion(
    call_id="c",
    messages=({"role": "user", "content": "hello"},),
    params={"temperature": 0},
    chain=(REF,),
    ref=REF,
    total_timeout=5.0,
)


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[ModuleType]:
    """A package with nothing but the example, as a module of its own."""
    [example] = re.findall(r'^```python\n("""Acme.*?)^```', README, flags=re.MULTILINE | re.DOTALL)
    package = tmp_path / "vendors_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "acme.py").write_text(example)
    sys.path.insert(0, str(tmp_path))
    try:
        yield importlib.import_module("vendors_of_a_test")
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.partition(".")[0] == "vendors_of_a_test"]:
            del sys.modules[name]


@pytest.fixture
async def chain(server: Server, vendors: ModuleType) -> FallbackChain:
    settings = ProviderSettings(protocol="acme", base_url=f"{server.url}/v2/answer", api_key=SecretStr(SECRET))
    acme = factory("acme", vendors)("acme", settings, ChainSettings(), ManualClock())
    return FallbackChain({"acme": acme}, ManualClock())


async def test_a_whole_answer(server: Server, chain: FallbackChain) -> None:
    server.script = answers(body={"text": "hi", "tokens": [3, 1], "why": "stop"})
    reply = await chain.complete(REQUEST)
    assert (reply.text, reply.finish_reason, reply.usage) == ("hi", "stop", Usage(3, 1))
    assert (server.paths, server.headers[0]["x-acme-key"]) == (["/v2/answer"], SECRET)
    assert server.bodies == [
        {"engine": "one", "turns": [{"role": "user", "content": "hello"}], "stream": False, "temperature": 0}
    ]
    await chain.aclose()


async def test_a_stream(server: Server, chain: FallbackChain) -> None:
    server.script = streams({"text": "h"}, {"text": "i", "tokens": [3, 1], "why": "stop"}, "[DONE]")
    text, reply = await collect(chain.stream(REQUEST))
    assert reply is not None
    assert (text, reply.text, reply.usage) == ("hi", "hi", Usage(3, 1))
    await chain.aclose()


@pytest.mark.parametrize(
    ("events", "then", "code"),
    [
        ([{"text": "h"}], "end", "provider_unreachable"),
        ([{"text": "h"}], "cut", "provider_unreachable"),
        ([{"text": "h"}, "{"], "end", "provider_malformed"),
        ([{"text": "h"}, {"no": "text"}], "end", "provider_malformed"),
        ([{"text": "h"}, {"error": {"type": "overloaded_error", "message": SECRET}}], "end", "provider_overloaded"),
    ],
)
async def test_a_stream_that_breaks_off(
    events: list[dict[str, object] | str], then: str, code: str, server: Server, chain: FallbackChain
) -> None:
    server.script = streams(*events, then=then)
    with pytest.raises(StreamInterrupted) as caught:
        await collect(chain.stream(REQUEST))
    assert caught.value.attempts[0].error == code
    assert caught.value.partial.text == "h"
    assert SECRET not in str(caught.value)
    await chain.aclose()


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [(429, {}, ProviderRateLimited), (503, "<html>", ProviderOverloaded), (200, {"no": "text"}, ProviderMalformed)],
)
async def test_errors_map_as_those_of_any_other(
    status: int, body: object, kind: type[ProviderError], streaming: bool, server: Server, chain: FallbackChain
) -> None:
    server.script = answers(status, body) if status != 200 or not streaming else streams({"no": "text"})
    with pytest.raises(ProviderError) as caught:
        await (collect(chain.stream(REQUEST)) if streaming else chain.complete(REQUEST))
    assert caught.value.attempts[0].error == kind.code
    await chain.aclose()


def test_a_protocol_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, providers={"x": ProviderSettings(protocol="nobody")})
    with pytest.raises(ValueError, match="there is no protocol 'nobody'; there are: anthropic, openai"):
        build_chain(settings, ManualClock(), random.Random(7))
    with pytest.raises(ValidationError):
        ProviderSettings(protocol="../os")
