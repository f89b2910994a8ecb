"""What the vendors report, streamed or not, is charged as the price data's own reading of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import extract_usage
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ProviderError, StreamInterrupted
from gateway.pricing import price
from gateway.providers import attempts
from gateway.providers.anthropic_reply import AnthropicStreamReader, translate_reply
from gateway.providers.fallback import FallbackChain
from gateway.providers.vendors.openai import OpenAIDialect
from gateway.types import Completion, Delta, ModelRef, Reply, Usage
from tests.gateway.providers.conftest import Connect
from tests.gateway.providers.fakes import collect
from tests.gateway.providers.scripted_server import Server, answers, streams
from tests.gateway.providers.test_wire import ANSWERS, FIRST_TOKENS, MODELS, PROTOCOLS, STREAMS, ask

AT = 1_762_000_000.0
COUNTS = st.integers(0, 300_000)


@settings(deadline=None)
@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
def test_anthropic(plain: int, read: int, short: int, long: int, output: int, streaming: bool) -> None:
    usage = {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
    }
    if streaming:
        reader = AnthropicStreamReader()
        reader.feed({"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}})
        reader.feed({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}})
        parsed = reader.finish()
        assert parsed is not None
    else:
        parsed = translate_reply({"content": [], "stop_reason": "end_turn", "usage": usage})
    model = "claude-sonnet-4-5"
    theirs = extract_usage({"model": model, "usage": usage}, provider_id="anthropic")
    ours = price("anthropic", model, parsed.usage, AT).usd
    assert ours == theirs.calc_price(genai_request_timestamp=datetime.fromtimestamp(AT, UTC)).total_price


@settings(deadline=None)
@given(COUNTS, st.floats(0, 1), COUNTS, st.booleans())
def test_openai(prompt: int, cached: float, output: int, streaming: bool) -> None:
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": int(prompt * cached)},
    }
    choice: dict[str, Any] = {"message": {"content": "x"}, "delta": {"content": "x"}, "finish_reason": "stop"}
    if streaming:
        reader = OpenAIDialect().reader()
        reader.feed({"choices": [choice]})
        reader.feed({"choices": [], "usage": usage})
        parsed = reader.finish()
        assert parsed is not None
    else:
        parsed = OpenAIDialect().decode({"choices": [choice], "usage": usage})
    model = "gpt-4.1-mini"
    theirs = extract_usage({"model": model, "usage": usage}, provider_id="openai", api_flavor="chat")
    ours = price("openai", model, parsed.usage, AT).usd
    assert ours == theirs.calc_price(genai_request_timestamp=datetime.fromtimestamp(AT, UTC)).total_price


@PROTOCOLS
async def test_usage_that_a_server_does_not_report_is_unknown_not_zero(
    protocol: str, server: Server, connect: Connect
) -> None:
    server.script = answers(body={**ANSWERS[protocol], "usage": None})
    reply = await connect(protocol).complete(ask(protocol))
    assert not reply.usage.complete
    assert price(protocol, MODELS[protocol], reply.usage).usd is None


async def cut(provider: Any, request: Completion) -> tuple[StreamInterrupted, list[Delta]]:
    chain = FallbackChain({request.ref.provider: provider}, Standstill())
    deltas: list[Delta] = []
    with pytest.raises(StreamInterrupted) as caught:
        await collect(chain.stream(request), deltas)
    return caught.value, deltas


class Standstill:
    def now(self) -> float:
        return AT

    def monotonic(self) -> float:
        return 0.0


KNOWN = {"openai": Usage(complete=False), "anthropic": Usage(9, 0, 4, 2, complete=False)}


@PROTOCOLS
@pytest.mark.parametrize("then", ["cut", "end", "hang"])
async def test_a_stream_that_breaks_off_tells_what_was_delivered_and_what_is_known_of_its_usage(
    protocol: str, then: str, server: Server, connect: Connect
) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], then=then)
    request = ask(protocol, total=0.5 if then == "hang" else 5.0)
    error, deltas = await cut(connect(protocol), as_chain(request))
    partial: Reply = error.partial
    assert partial.text == "".join(delta.delta.get("content") or "" for delta in deltas) == "h"
    assert (partial.provider, partial.model, partial.finish_reason) == (protocol, MODELS[protocol], "")
    assert partial.usage == KNOWN[protocol]
    assert price(protocol, MODELS[protocol], partial.usage).usd is None
    assert [a.error for a in error.attempts] == [a.error for a in attempts.of_error(error)]
    assert error.attempts[0].provider == protocol


@PROTOCOLS
async def test_usage_that_was_reported_before_the_cut_is_charged(
    protocol: str, server: Server, connect: Connect
) -> None:
    last = 5 if protocol == "openai" else 7
    events = [*STREAMS[protocol][:last], "{"]
    if protocol == "anthropic":
        events[-1] = {"type": "content_block_start", "index": 1, "content_block": {}}
    server.script = streams(*events)
    error, _ = await cut(connect(protocol), as_chain(ask(protocol)))
    assert error.partial.text == "hi"
    assert error.partial.usage.complete
    assert price(protocol, MODELS[protocol], error.partial.usage, AT).usd is not None


@PROTOCOLS
@pytest.mark.parametrize("streaming", [False, True])
async def test_whoever_asks_is_told_when_something_may_cost(
    protocol: str, streaming: bool, server: Server, connect: Connect
) -> None:
    told: list[ModelRef] = []
    plain = ask(protocol, n=2)
    request = Completion(
        call_id="c", messages=plain.messages, params=plain.params, ref=plain.ref, on_attempt=told.append
    )
    provider = connect(protocol)
    with pytest.raises(ProviderError):
        await (collect(provider.stream(request)) if streaming else provider.complete(request))
    assert told == [], "nothing was sent"
    server.script = streams(*STREAMS[protocol]) if streaming else answers(body=ANSWERS[protocol])
    request = Completion(call_id="c", messages=plain.messages, ref=plain.ref, on_attempt=told.append)
    await (collect(provider.stream(request)) if streaming else provider.complete(request))
    assert told == [plain.ref]


def as_chain(request: Completion) -> Completion:
    return Completion(
        call_id=request.call_id,
        messages=request.messages,
        chain=(request.ref,),
        ref=request.ref,
        total_timeout=request.total_timeout,
        first_token_timeout=request.first_token_timeout,
    )
