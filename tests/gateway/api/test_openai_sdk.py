"""The official SDK talks to the gateway by its base_url alone."""

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.lib.streaming.chat import ChatCompletionStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.types import Variable
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import prompt_version, unique, until

pytestmark = pytest.mark.integration

MESSAGES: Any = [
    {"role": "system", "content": "Answer from the context.\n\nContext:\nParcels arrive within three days."},
    {"role": "user", "content": "When do parcels arrive?"},
]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def raw_call() -> dict[str, Any]:
    """Unlike any other test's, so that no cache answers unless the test has asked before."""
    return {"model": "gpt-4.1-mini", "messages": MESSAGES, "temperature": 0, "user": unique("user"), "seed": 7}


def managed(shop: Shop, version: str = "", question: str = "When do parcels arrive?") -> dict[str, Any]:
    model = f"prompt:{shop.prompt}{version}"
    return {"model": model, "messages": [], "user": "u-1", "extra_body": {"variables": {"question": question}}}


def explained(piece: ChatCompletion | ChatCompletionChunk) -> dict[str, Any] | None:
    return (piece.model_extra or {}).get("promptyard")


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_raw_messages(shop: Shop) -> None:
    answer = shop.openai.chat.completions.create(**raw_call())
    assert "three days" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id.startswith("call_")
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 10
    told = explained(answer)
    assert told is not None
    assert (told["prompt"], told["version"], told["arm"]) == (None, None, None)
    assert (told["provider"], told["documents"], len(told["attempts"])) == ("openai", [], 1)
    assert told["cost_usd"] > 0


def test_a_managed_prompt_with_headers_that_say_the_same(shop: Shop) -> None:
    raw = shop.openai.chat.completions.with_raw_response.create(**managed(shop))
    answer = raw.parse()
    assert "three days" in (answer.choices[0].message.content or "")
    told = explained(answer)
    assert told is not None
    assert (told["prompt"], told["version"], told["arm"]) == (shop.prompt, "1.0.0", "stable")
    assert told["documents"] == [f"doc:{shop.prompt}/shipping@1"]
    assert (told["cache"]["layer"], told["cache"]["reason"]) == ("none", "miss")
    assert {"exact", "semantic", "embedding", "context"} <= told["cache"]["reasons"].keys()
    assert told["call_id"] == answer.id == raw.headers["x-promptyard-call-id"]
    assert raw.headers["x-promptyard-prompt"] == f"{shop.prompt}@1.0.0"
    assert raw.headers["x-promptyard-cache"] == "none"
    assert raw.headers["x-promptyard-provider"] == told["provider"] == "openai"
    assert raw.headers["x-promptyard-model"] == told["model"] == answer.model
    assert raw.headers["x-promptyard-attempts"] == "1"
    assert float(raw.headers["x-promptyard-cost-usd"]) == pytest.approx(told["cost_usd"])
    [row] = shop.stack.calls(shop.tenant)
    assert (row.id, row.prompt, row.version, row.user, row.arm) == (answer.id, shop.prompt, "1.0.0", "u-1", "stable")
    assert (row.status, row.layer, row.documents) == ("ok", "none", told["documents"])


def test_messages_of_the_caller_follow_the_template(shop: Shop) -> None:
    plain = prompt_version(
        shop.tenant, shop.prompt, "2.0.0", template=MESSAGES[:1], variables=(Variable("question", required=False),),
        retrieval=None,
    )  # fmt: skip
    shop.stack.add(plain)
    answer = shop.openai.chat.completions.create(model=f"prompt:{shop.prompt}", messages=MESSAGES[1:])
    assert "three days" in (answer.choices[0].message.content or "")


def test_the_same_question_again_is_answered_by_the_cache(shop: Shop) -> None:
    first = shop.openai.chat.completions.create(**managed(shop))
    before = shop.stack.simulator.calls()
    again = shop.openai.chat.completions.with_raw_response.create(**managed(shop))
    answer = again.parse()
    assert shop.stack.simulator.calls() == before
    assert again.headers["x-promptyard-cache"] == "exact"
    assert again.headers["x-promptyard-cost-usd"] == "0"
    assert answer.choices == first.choices
    assert answer.id != first.id
    told = explained(answer)
    assert told is not None
    assert told["cache"] == {"layer": "exact", "reason": "hit", "reasons": {"exact": "hit"}}
    assert told["cost_usd"] == 0


def test_a_version_asked_for_by_name_is_no_evidence(shop: Shop) -> None:
    canary = prompt_version(shop.tenant, shop.prompt, "1.1.0")
    shop.stack.release(canary, weight=5000, evidence_share=10_000)
    answers = [shop.openai.chat.completions.create(**managed(shop, v)) for v in ("@1.0.0", "@1.1.0")]
    told = [explained(answer) or {} for answer in answers]
    assert [one["version"] for one in told] == ["1.0.0", "1.1.0"]
    assert [(one["arm"], one["release"]) for one in told] == [(None, None)] * 2
    assert not any(row.evidence for row in shop.stack.calls(shop.tenant))
    with pytest.raises(openai.NotFoundError) as caught:
        shop.openai.chat.completions.create(**managed(shop, "@9.9.9"))
    assert caught.value.code == "unknown_prompt"
    assert "1.0.0, 1.1.0" in str(caught.value.body)


@pytest.mark.parametrize("usage", [None, False, True])
@pytest.mark.parametrize("kind", ["raw", "managed"])
def test_a_stream_carries_the_object_on_its_last_chunk(shop: Shop, kind: str, usage: bool | None) -> None:
    body = managed(shop, question="Parcels, when do they arrive?") if kind == "managed" else raw_call()
    options: Any = {} if usage is None else {"stream_options": {"include_usage": usage}}
    for layer in ("none", "exact"):  # an answer of the cache streams like any other
        chunks = list(shop.openai.chat.completions.create(**body, **options, stream=True))
        assert "three days" in text_of(chunks)
        assert [chunk.object for chunk in chunks] == ["chat.completion.chunk"] * len(chunks)
        assert len({chunk.id for chunk in chunks}) == 1
        told = explained(chunks[-1])
        assert told is not None
        assert told["cache"]["layer"] == layer
        assert told["call_id"] == chunks[0].id
        assert not any(explained(chunk) for chunk in chunks[:-1])
        reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert reasons == [None] * (len(reasons) - 1) + ["stop"]
        assert chunks[0].choices[0].delta.role == "assistant"
        if usage:
            assert chunks[-1].choices == []
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.completion_tokens > 0
        assert all(chunk.usage is None for chunk in chunks[: -1 if usage else None])
    rows = shop.stack.calls(shop.tenant)
    assert [(row.streamed, row.status, row.layer) for row in rows] == [(True, "ok", "none"), (True, "ok", "exact")]
    assert all(row.first_token_ms is not None and row.first_token_ms <= row.latency_ms for row in rows)


async def test_the_async_client_streams_and_does_not(shop: Shop) -> None:
    async with AsyncOpenAI(base_url=f"{shop.stack.url}/v1", api_key=shop.key, max_retries=0) as client:
        whole = await client.chat.completions.create(**managed(shop))
        chunks = [chunk async for chunk in await client.chat.completions.create(**managed(shop), stream=True)]
    assert text_of(chunks) == whole.choices[0].message.content
    assert (explained(chunks[-1]) or {})["cache"]["layer"] == "exact"


def test_response_format_passes_through(shop: Shop) -> None:
    answer = shop.openai.chat.completions.create(**raw_call(), response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_a_tool_call_streams_alike_from_the_provider_and_from_the_cache(shop: Shop) -> None:
    body = raw_call()
    tools: Any = {"tools": [WEATHER], "tool_choice": "required"}
    whole = shop.openai.chat.completions.create(**body, **tools)
    [call] = whole.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert whole.choices[0].finish_reason == "tool_calls"
    for _ in range(2):  # the SDK's own assembly of a stream: it needs the index of every piece of a tool call
        events: list[ChatCompletionStreamEvent[Any]] = []
        with shop.openai.chat.completions.stream(**body, **tools) as stream:
            events.extend(stream)
            final = stream.get_final_completion()
        [streamed] = final.choices[0].message.tool_calls or []
        assert streamed.function.name == "weather"
        assert json.loads(streamed.function.arguments) == json.loads(call.function.arguments)
    assert [row.layer for row in shop.stack.calls(shop.tenant)] == ["none", "exact", "exact"]


def test_a_stream_that_breaks_ends_with_an_error_and_is_recorded_as_failed(shop: Shop) -> None:
    with shop.stack.simulator.faults({"cut_after_chunks": 4}):
        stream = shop.openai.chat.completions.create(**managed(shop), stream=True)
        seen: list[ChatCompletionChunk] = []
        with pytest.raises(openai.APIError) as caught:
            seen.extend(stream)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "stream_interrupted"
    assert caught.value.body["call_id"].startswith("call_")
    [row] = shop.stack.calls(shop.tenant)
    assert (row.status, row.error, row.layer) == ("failed", "stream_interrupted", "none")
    assert shop.answer()[1:] == ("none", "miss")  # half an answer was not kept


def test_a_client_that_leaves_a_stream_is_recorded_and_frees_its_place(shop: Shop) -> None:
    with shop.stack.simulator.faults({"latency_ms": 20_000, "first_token_ms": 0}):
        stream = shop.openai.chat.completions.create(**managed(shop), stream=True)
        assert next(iter(stream)).choices
        stream.close()
        rows = until("the call is in the ledger", lambda: shop.stack.calls(shop.tenant))
    assert [(row.status, row.error) for row in rows] == [("failed", "client_gone")]
    assert b"promptyard_calls_in_flight 0.0" in shop.http.get("/metrics").content


@pytest.mark.parametrize("body", [{"n": 2}, {"logprobs": True}], ids=lambda body: next(iter(body)))
def test_what_is_not_supported_is_said(shop: Shop, body: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        shop.openai.chat.completions.create(**raw_call(), **body)
    assert caught.value.code == "invalid_request"
    assert next(iter(body)) in caught.value.message
