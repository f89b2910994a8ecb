"""What happens on the wire, for both protocols, with the real SDKs."""

import asyncio
import traceback
from typing import Any

import pytest

from gateway.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnknownModel,
    ProviderUnreachable,
)
from gateway.types import Completion, Delta, ModelRef, Usage
from tests.gateway.providers.conftest import SECRET, Connect
from tests.gateway.providers.fakes import collect
from tests.gateway.providers.scripted_server import Script, Server, answers, hangs, streams

PROMPT = "a very private question"
PROTOCOLS = pytest.mark.parametrize("protocol", ["openai", "anthropic"])
MODELS = {"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5"}
ANSWERS: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "x",
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    },
    "anthropic": {
        "type": "message",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 2,
            "output_tokens": 2,
        },
    },
}
USAGES = {"openai": Usage(9, 2, 4), "anthropic": Usage(9, 2, 4, 2)}
ROLE: dict[str, Any] = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
STREAMS: dict[str, list[Any]] = {
    "openai": [
        ROLE,
        {"choices": [{"index": 0, "delta": {"content": "h"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": "i"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": ANSWERS["openai"]["usage"]},
        "[DONE]",
    ],
    "anthropic": [
        {"type": "message_start", "message": {"usage": {**ANSWERS["anthropic"]["usage"], "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "h"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "i"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ],
}
FIRST_TOKENS = {"openai": 2, "anthropic": 4}
"""How many events of STREAMS it takes until there is text."""


def ask(protocol: str, *, total: float = 5.0, first_token: float = 5.0, **params: Any) -> Completion:
    return Completion(
        call_id="call_1",
        messages=({"role": "user", "content": PROMPT},),
        params=params,
        ref=ModelRef(protocol, MODELS[protocol]),
        total_timeout=total,
        first_token_timeout=first_token,
    )


@PROTOCOLS
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_answer_comes_back_in_openai_s_terms(
    protocol: str, streaming: bool, server: Server, connect: Connect
) -> None:
    server.script = streams(*STREAMS[protocol]) if streaming else answers(body=ANSWERS[protocol])
    provider = connect(protocol)
    if streaming:
        text, reply = await collect(provider.stream(ask(protocol)))
        assert text == "hi"
    else:
        reply = await provider.complete(ask(protocol))
    assert reply is not None
    assert (reply.text, reply.finish_reason, reply.usage) == ("hi", "stop", USAGES[protocol])
    assert (reply.provider, reply.model) == (protocol, MODELS[protocol])


@PROTOCOLS
async def test_the_sdk_s_own_retries_are_off(protocol: str, server: Server, connect: Connect) -> None:
    server.script = answers(500, {"error": {"message": "down"}})
    with pytest.raises(ProviderError):
        await connect(protocol).complete(ask(protocol))
    assert len(server.bodies) == 1


@PROTOCOLS
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("script", "kind", "wait"),
    [
        (
            answers(400, {"error": {"message": PROMPT, "code": "context_length_exceeded"}}),
            ProviderRejectedRequest,
            None,
        ),
        (answers(401, {"error": {"message": f"Incorrect key {SECRET}"}}), ProviderRejectedKey, None),
        (answers(403, {}), ProviderRejectedKey, None),
        (answers(404, {"error": {"message": PROMPT}}), ProviderUnknownModel, None),
        (answers(408, {}), ProviderTimeout, None),
        (answers(422, PROMPT), ProviderRejectedRequest, None),
        (answers(429, {}, retry_after="7"), ProviderRateLimited, 7.0),
        (answers(429, {"error": {"code": "insufficient_quota"}}), ProviderRejectedKey, None),
        (answers(500, "<html>"), ProviderError, None),
        (answers(503, {}, retry_after="Tue, 14 Nov 2023 22:13:50 GMT"), ProviderOverloaded, 30.0),
        (answers(529, {"error": {"type": "overloaded_error"}}), ProviderOverloaded, None),
        (answers(307, {}, location="/elsewhere"), ProviderUnknownModel, None),
    ],
)
async def test_errors_are_told_by_status_and_repeat_neither_key_nor_prompt(
    protocol: str,
    streaming: bool,
    script: Script,
    kind: type[ProviderError],
    wait: float | None,
    server: Server,
    connect: Connect,
) -> None:
    server.script = script
    provider = connect(protocol)
    with pytest.raises(ProviderError) as caught:
        await (collect(provider.stream(ask(protocol))) if streaming else provider.complete(ask(protocol)))
    assert type(caught.value) is kind
    assert caught.value.retry_after == wait
    assert (caught.value.provider, caught.value.model) == (protocol, MODELS[protocol])
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.hint
    assert SECRET not in told
    assert PROMPT not in told
    assert len(server.bodies) == 1


@PROTOCOLS
async def test_the_error_names_the_parameter(protocol: str, server: Server, connect: Connect) -> None:
    error = {"type": "invalid_request_error", "message": "max_tokens: must be positive, not 'secret'"}
    server.script = answers(400, {"type": "error", "error": error})
    with pytest.raises(ProviderRejectedRequest, match=r"\(type invalid_request_error, param max_tokens\)\.$"):
        await connect(protocol).complete(ask(protocol))


@PROTOCOLS
@pytest.mark.parametrize("body", ["{", "[]", "null", '"text"', "{}", '{"choices": [], "content": 3}'])
async def test_a_malformed_answer_is_told_as_such(protocol: str, body: str, server: Server, connect: Connect) -> None:
    server.script = answers(200, body)
    with pytest.raises(ProviderMalformed):
        await connect(protocol).complete(ask(protocol))


@PROTOCOLS
async def test_an_error_within_a_success_is_an_error(protocol: str, server: Server, connect: Connect) -> None:
    server.script = answers(200, {"error": {"type": "rate_limit_error", "message": PROMPT}})
    with pytest.raises(ProviderRateLimited):
        await connect(protocol).complete(ask(protocol))


@PROTOCOLS
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_hang_ends_with_the_time_out(protocol: str, streaming: bool, server: Server, connect: Connect) -> None:
    server.script = hangs()
    provider = connect(protocol)
    request = ask(protocol, total=5.0 if streaming else 0.05, first_token=0.05)
    with pytest.raises(ProviderTimeout):
        await (collect(provider.stream(request)) if streaming else provider.complete(request))
    await asyncio.wait_for(server.gone.wait(), 2)


@PROTOCOLS
async def test_a_slow_first_token_is_a_time_out_before_any_delta(
    protocol: str, server: Server, connect: Connect
) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol] - 1], then="hang")  # a role, and no token
    deltas: list[Delta] = []
    with pytest.raises(ProviderTimeout, match=r"no token within 0\.05 s"):
        await collect(connect(protocol).stream(ask(protocol, first_token=0.05)), deltas)
    assert deltas == []


@PROTOCOLS
async def test_a_stream_that_stalls_ends_with_the_total_deadline(
    protocol: str, server: Server, connect: Connect
) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], then="hang")
    deltas: list[Delta] = []
    with pytest.raises(ProviderTimeout):
        await collect(connect(protocol).stream(ask(protocol, total=1.0, first_token=0.9)), deltas)
    assert deltas[-1].delta == {"content": "h"}
    await asyncio.wait_for(server.gone.wait(), 2)


@PROTOCOLS
@pytest.mark.parametrize("then", ["cut", "end"])
async def test_a_stream_cut_in_the_middle_is_an_error_not_an_answer(
    protocol: str, then: str, server: Server, connect: Connect
) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], then=then)
    deltas: list[Delta] = []
    with pytest.raises(ProviderUnreachable):
        await collect(connect(protocol).stream(ask(protocol)), deltas)
    assert deltas[-1].delta == {"content": "h"}
    assert not any(delta.reply for delta in deltas)


@PROTOCOLS
async def test_a_malformed_event_is_told_as_such(protocol: str, server: Server, connect: Connect) -> None:
    events = STREAMS[protocol][: FIRST_TOKENS[protocol]]
    broken = "{" if protocol == "openai" else {"type": "content_block_start", "index": 0, "content_block": {}}
    server.script = streams(*events, broken)
    with pytest.raises(ProviderMalformed):
        await collect(connect(protocol).stream(ask(protocol)))


@PROTOCOLS
async def test_an_error_event_in_a_stream_is_an_error(protocol: str, server: Server, connect: Connect) -> None:
    error = {"type": "overloaded_error", "message": PROMPT}
    event = {"error": error} if protocol == "openai" else {"type": "error", "error": error}
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], event)
    with pytest.raises(ProviderOverloaded) as caught:
        await collect(connect(protocol).stream(ask(protocol)))
    assert PROMPT not in str(caught.value)


@PROTOCOLS
@pytest.mark.parametrize("streaming", [False, True])
async def test_cancelling_the_task_hangs_up(protocol: str, streaming: bool, server: Server, connect: Connect) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], then="hang") if streaming else hangs()
    provider = connect(protocol)

    async def work() -> None:
        await (collect(provider.stream(ask(protocol))) if streaming else provider.complete(ask(protocol)))

    task = asyncio.create_task(work())
    await asyncio.wait_for(server.came.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.gone.wait(), 2)


@PROTOCOLS
async def test_leaving_a_stream_hangs_up(protocol: str, server: Server, connect: Connect) -> None:
    server.script = streams(*STREAMS[protocol][: FIRST_TOKENS[protocol]], then="hang")
    stream = connect(protocol).stream(ask(protocol))
    await anext(stream)
    await stream.aclose()
    await asyncio.wait_for(server.gone.wait(), 2)


@PROTOCOLS
async def test_a_refused_connection_is_unreachable_not_a_time_out(
    protocol: str, server: Server, connect: Connect
) -> None:
    server.url = "http://127.0.0.1:1"
    with pytest.raises(ProviderUnreachable):
        await connect(protocol).complete(ask(protocol))


async def test_openai_gets_every_parameter_unchanged(server: Server, connect: Connect) -> None:
    server.script = answers(body=ANSWERS["openai"])
    params: dict[str, Any] = {"temperature": 0, "a_new_thing": {"deep": [1, None]}, "tools": [{"type": "custom"}]}
    await connect("openai").complete(ask("openai", **params))
    assert server.bodies == [{"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": PROMPT}]} | params]
    assert server.paths == ["/chat/completions"]
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"


async def test_openai_s_stream_asks_for_usage_and_keeps_the_caller_s_options(server: Server, connect: Connect) -> None:
    server.script = streams(*STREAMS["openai"])
    await collect(connect("openai").stream(ask("openai", stream_options={"include_obfuscation": False})))
    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize(
    ("temperature", "model", "sent", "version"),
    [
        (0, "claude-haiku-4-5", 0, "2023-06-01"),
        (1.7, "claude-sonnet-4-6", 1.0, "2023-06-01"),
        (0, "claude-opus-4-20250514", 0, "2023-06-01"),
        (0, "claude-3-5-haiku-latest", 0, "2023-06-01"),
        (0, "practice-large", 0, "2023-06-01"),
        (0, "claude-opus-4-7", None, "2026-10-21"),
        (0, "claude-sonnet-5-5", None, "2026-10-21"),
        (None, "claude-haiku-4-5", None, "2026-10-21"),
    ],
)
async def test_anthropic_gets_a_temperature_where_it_is_allowed_at_all(
    temperature: float | None, model: str, sent: float | None, version: str, server: Server, connect: Connect
) -> None:
    server.script = answers(body=ANSWERS["anthropic"])
    request = Completion(
        call_id="c",
        messages=({"role": "user", "content": "hello"},),
        params={"temperature": temperature},
        ref=ModelRef("anthropic", model),
    )
    await connect("anthropic").complete(request)
    assert server.bodies[0].get("temperature") == sent
    assert server.headers[0]["anthropic-version"] == version
    assert server.paths == ["/v1/messages"]
