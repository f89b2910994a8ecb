"""The official Anthropic SDK talks to the gateway by its base_url and key alone."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message
from pydantic import BaseModel

from tests.gateway.api.conftest import Shop
from tests.gateway_stack import unique

pytestmark = pytest.mark.integration

SYSTEM = "Answer from the context.\n\nContext:\nParcels arrive within three days."
QUESTION: Any = [{"role": "user", "content": "When do parcels arrive?"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MODELS = ["claude-haiku-4-5", "gpt-4.1-mini", "openai/gpt-4.1-mini"]


class Arrival(BaseModel):
    days: int
    note: str


@pytest.fixture
def client(shop: Shop) -> Iterator[Anthropic]:
    with Anthropic(base_url=shop.stack.url, api_key=shop.key, max_retries=0, timeout=30) as opened:
        yield opened


@pytest.fixture
async def aclient(shop: Shop) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=shop.stack.url, api_key=shop.key, max_retries=0, timeout=30) as opened:
        yield opened


def asked(model: str = MODELS[0], **more: Any) -> dict[str, Any]:
    """Unlike any other test's, so that no cache answers unless the test has asked before."""
    return {
        "model": model,
        "max_tokens": 200,
        "system": f"{SYSTEM}\n\n{unique('Shop')}",
        "messages": QUESTION,
        "temperature": 0,
        **more,
    }


def create(client: Anthropic, body: dict[str, Any]) -> Message:
    """The SDK deprecates ``temperature`` for new models, so it goes as an extra."""
    extra = {"temperature": body["temperature"], **body.get("extra_body", {})}
    rest = {name: value for name, value in body.items() if name not in ("temperature", "extra_body")}
    answer = client.messages.create(**rest, extra_body=extra)
    assert isinstance(answer, Message)
    return answer


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def managed(shop: Shop, question: str = "When do parcels arrive?", version: str = "") -> dict[str, Any]:
    return {
        "model": f"prompt:{shop.prompt}{version}",
        "max_tokens": 200,
        "messages": [],
        "metadata": {"user_id": "u-1"},
        "extra_body": {"variables": {"question": question}},
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_raw_call_to_either_provider(shop: Shop, client: Anthropic, model: str) -> None:
    answer = create(client, asked(model))
    assert "three days" in text_of(answer)
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.id.startswith("call_")
    assert answer.usage.input_tokens > 10
    assert answer.usage.output_tokens > 0
    assert (answer.usage.cache_read_input_tokens, answer.usage.cache_creation_input_tokens) == (0, 0)
    told = (answer.model_extra or {})["promptyard"]
    assert told["provider"] == ("anthropic" if model.startswith("claude") else "openai")
    [row] = shop.stack.calls(shop.tenant)
    assert (row.id, row.status, row.model) == (answer.id, "ok", model.removeprefix("openai/"))


def test_a_managed_prompt_takes_its_variables_and_its_user(shop: Shop, client: Anthropic) -> None:
    answer = client.messages.create(**managed(shop))
    assert "three days" in text_of(answer)
    told = (answer.model_extra or {})["promptyard"]
    assert (told["prompt"], told["version"], told["provider"]) == (shop.prompt, "1.0.0", "openai")
    assert told["documents"] == [f"doc:{shop.prompt}/shipping@1"]
    again = client.messages.with_raw_response.create(**managed(shop))
    assert again.headers["x-promptyard-cache"] == "exact"
    assert [(row.user, row.layer) for row in shop.stack.calls(shop.tenant)] == [("u-1", "none"), ("u-1", "exact")]


@pytest.mark.parametrize("model", MODELS[:2])
def test_stream_true_gives_events_in_their_order(client: Anthropic, model: str) -> None:
    body = asked(model)
    del body["temperature"]
    for layer in ("none", "exact"):  # an answer of the cache streams like any other
        events = list(client.messages.create(**body, stream=True, extra_body={"temperature": 0}))
        kinds = [event.type for event in events]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(kinds[2:-3]) == {"content_block_delta"}
        end = events[-2]
        assert end.type == "message_delta"
        assert (end.delta.stop_reason, end.usage.output_tokens > 0) == ("end_turn", True)
        assert (end.usage.input_tokens or 0) > 10
        assert (end.model_extra or {})["promptyard"]["cache"]["layer"] == layer


@pytest.mark.parametrize("model", MODELS[:2])
def test_the_stream_helper_adds_up_to_the_whole_answer(client: Anthropic, model: str) -> None:
    body = asked(model)
    whole = create(client, body)
    del body["temperature"]
    with client.messages.stream(**body, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(whole)
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.stop_reason == "end_turn"


async def test_the_async_client_streams_and_does_not(shop: Shop, aclient: AsyncAnthropic) -> None:
    whole = await aclient.messages.create(**managed(shop))
    async with aclient.messages.stream(**managed(shop)) as stream:
        text = "".join([piece async for piece in stream.text_stream])
    pieces = await aclient.messages.create(**managed(shop), stream=True)
    kinds = [event.type async for event in pieces]
    assert text == text_of(whole) != ""
    assert kinds[-1] == "message_stop"


@pytest.mark.parametrize("model", MODELS[:2])
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}], ids=["any", "named"])
def test_a_tool_is_used_and_its_result_is_answered(client: Anthropic, model: str, choice: Any) -> None:
    body = asked(model, tools=[WEATHER], tool_choice=choice)
    whole = create(client, body)
    [use] = [block for block in whole.content if block.type == "tool_use"]
    assert (whole.stop_reason, use.name, use.id != "") == ("tool_use", "weather", True)
    assert isinstance(use.input, dict)
    del body["temperature"]
    for _ in range(2):
        with client.messages.stream(**body, extra_body={"temperature": 0}) as stream:
            [streamed] = [block for block in stream.get_final_message().content if block.type == "tool_use"]
        assert (streamed.name, streamed.input) == (use.name, use.input)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Sunny."}]}
    turns = [*QUESTION, {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    answer = create(client, asked(model, tools=[WEATHER], messages=turns))
    assert text_of(answer)
    assert answer.stop_reason == "end_turn"


@pytest.mark.parametrize("model", MODELS[:2])
def test_structured_output_by_the_sdks_own_parser(client: Anthropic, model: str) -> None:
    body = asked(model)
    del body["temperature"]
    parsed = client.messages.parse(**body, output_format=Arrival, extra_body={"temperature": 0})
    assert isinstance(parsed.parsed_output, Arrival)
    answer = create(client, asked(model, output_config={"format": {"type": "json_schema", "schema": {
        "type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"],
        "additionalProperties": False,
    }}}))  # fmt: skip
    assert set(json.loads(text_of(answer))) == {"days"}


def test_system_blocks_images_and_stop_sequences(client: Anthropic) -> None:
    system = [{"type": "text", "text": f"{SYSTEM} {unique('Shop')}", "cache_control": {"type": "ephemeral"}}]
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    words = {"type": "text", "text": "When do parcels arrive?"}
    seen = [{"role": "user", "content": [picture, words]}]
    answer = create(client, asked(system=system, messages=seen, stop_sequences=["days"]))
    assert "three" in text_of(answer)
    assert "days" not in text_of(answer)


def test_too_few_tokens_are_said(client: Anthropic) -> None:
    assert create(client, asked(max_tokens=2)).stop_reason == "max_tokens"
    assert create(client, asked(MODELS[1], max_tokens=2)).stop_reason == "max_tokens"


REFUSED: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
    ("prompt", {"model": "prompt:none"}, anthropic.NotFoundError, "not_found_error", "unknown_prompt"),
    ("role", {"messages": [{"role": "bot", "content": ""}]}, anthropic.BadRequestError, "invalid_request_error",
     "invalid_request"),
    ("tool", {"tools": [{"input_schema": {}}], "model": MODELS[1]}, anthropic.BadRequestError,
     "invalid_request_error", "invalid_request"),
    ("refused", {"temperature": 3.5, "model": MODELS[1]}, anthropic.BadRequestError, "invalid_request_error",
     "provider_rejected_request"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kind", "name", "code"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_errors_are_the_sdks_own(
    client: Anthropic, change: dict[str, Any], kind: type[anthropic.APIStatusError], name: str, code: str
) -> None:
    with pytest.raises(kind) as caught:
        create(client, asked() | change)
    assert isinstance(caught.value.body, dict)
    error = caught.value.body["error"]
    assert (caught.value.body["type"], error["type"], error["code"]) == ("error", name, code)
    assert error["hint"]
    assert error["call_id"] == caught.value.response.headers["x-promptyard-call-id"]


def test_a_wrong_key_is_an_authentication_error(shop: Shop) -> None:
    wrong = Anthropic(base_url=shop.stack.url, api_key="py_wrong", max_retries=0)
    with wrong as client, pytest.raises(anthropic.AuthenticationError) as caught:
        create(client, asked())
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == "authentication_error"


def test_a_stream_that_breaks_ends_with_an_error_event(shop: Shop, client: Anthropic) -> None:
    with shop.stack.simulator.faults({"cut_after_chunks": 5}), pytest.raises(anthropic.APIStatusError) as caught:
        list(client.messages.create(**managed(shop), stream=True))
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["code"] == "stream_interrupted"
    assert caught.value.body["promptyard"]["partial"] is True
    [row] = shop.stack.calls(shop.tenant)
    assert (row.status, row.error) == ("failed", "stream_interrupted")


def test_counting_tokens_is_refused_with_a_hint(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.count_tokens(model=MODELS[0], messages=QUESTION)
    assert isinstance(caught.value.body, dict)
    assert "usage" in caught.value.body["error"]["hint"]
