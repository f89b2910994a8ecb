"""The OpenAI SDK's structured output and tools, sync and async, whole and streamed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, pydantic_function_tool
from pydantic import BaseModel

from tests.gateway.api.conftest import Shop
from tests.gateway_stack import unique

pytestmark = pytest.mark.integration

MODELS = ["gpt-4.1-mini", "claude-haiku-4-5"]


class Arrival(BaseModel):
    days: int
    note: str


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def asked(model: str) -> dict[str, Any]:
    """Unlike any other test's, so that no cache answers unless the test has asked before."""
    system = f"Answer from the context.\n\nContext:\nParcels arrive within 3 days. {unique('Shop')}"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "When do parcels arrive?"}]
    return {"model": model, "messages": messages, "temperature": 0}


@pytest.fixture
async def aclient(shop: Shop) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{shop.stack.url}/v1", api_key=shop.key, max_retries=0) as opened:
        yield opened


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_is_parsed_into_its_model(shop: Shop, model: str) -> None:
    body = asked(model)
    whole = shop.openai.chat.completions.parse(**body, response_format=Arrival).choices[0].message.parsed
    assert isinstance(whole, Arrival)
    with shop.openai.chat.completions.stream(**body, response_format=Arrival) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == whole
    assert [row.layer for row in shop.stack.calls(shop.tenant)] == ["none", "exact"]


@pytest.mark.parametrize("model", MODELS)
async def test_the_async_client_parses_too(aclient: AsyncOpenAI, model: str) -> None:
    parsed = await aclient.chat.completions.parse(**asked(model), response_format=Arrival)
    assert isinstance(parsed.choices[0].message.parsed, Arrival)
    async with aclient.chat.completions.stream(**asked(model), response_format=Arrival) as stream:
        final = await stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Arrival)


@pytest.mark.parametrize("model", MODELS)
async def test_a_tool_is_used_and_its_result_answered(aclient: AsyncOpenAI, model: str) -> None:
    body = asked(model)
    tools: Any = [pydantic_function_tool(Weather)]
    parsed = await aclient.chat.completions.parse(**body, tools=tools, tool_choice="required")
    message = parsed.choices[0].message
    [call] = message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    async with aclient.chat.completions.stream(**body, tools=tools, tool_choice="required") as stream:
        final = await stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert json.loads(streamed.function.arguments) == json.loads(call.function.arguments)
    used = {"id": call.id, "type": "function", "function": {"name": "Weather", "arguments": call.function.arguments}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [used]},
             {"role": "tool", "tool_call_id": call.id, "content": "Sunny."}]  # fmt: skip
    answer = await aclient.chat.completions.create(**body | {"messages": [*body["messages"], *turns]}, tools=tools)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
