"""What no provider could take is the caller's mistake (400); whatever is asked, nothing else than our errors comes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PromptyardError, ProviderRejectedRequest
from gateway.providers.anthropic_request import translate_request
from gateway.providers.vendors.anthropic import AnthropicDialect
from gateway.providers.vendors.openai import OpenAIDialect
from gateway.types import Completion, ModelRef

USER = {"role": "user", "content": "hello"}
REF = ModelRef("anthropic", "claude-haiku-4-5")


def ask(messages: Any, params: dict[str, Any]) -> Completion:
    return Completion(call_id="c", messages=messages, params=params, ref=REF)


@pytest.mark.parametrize(
    "params",
    [
        {"stop": 5},
        {"stop": [1, {}]},
        {"stop": {"secret": 1}},
        {"stop": True},
        {"n": "secret"},
        {"n": {}},
        {"modalities": 3},
        {"modalities": [["secret"]]},
        {"tools": "secret"},
        {"tools": {"secret": 1}},
        {"tools": [1]},
        {"tools": [None]},
        {"tools": [{}]},
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "function", "function": {"name": 3}}]},
        {"tools": [{"name": 4}]},
        {"tools": [{"name": "x"}], "tool_choice": 3},
        {"tools": [{"name": "x"}], "tool_choice": "secret"},
        {"tools": [{"name": "x"}], "tool_choice": {"type": "function"}},
        {"tools": [{"name": "x"}], "tool_choice": []},
        {"response_format": [1]},
        {"response_format": "secret"},
        {"response_format": {}},
        {"response_format": {"type": ["secret"]}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": "secret"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": [1]}}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}, "output_config": "secret"},
    ],
    ids=str,
)
def test_malformed_parameters(params: dict[str, Any]) -> None:
    with pytest.raises(ProviderRejectedRequest) as caught:
        translate_request(ask((USER,), params), stream=False)
    assert caught.value.status == 400
    assert not caught.value.fall_back
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "secret",
        None,
        {},
        {"role": "secret", "content": "x"},
        {"role": ["user"], "content": "x"},
        {"role": "user", "content": 3},
        {"role": "user", "content": {"secret": 1}},
        {"role": "user", "content": ["secret"]},
        {"role": "user", "content": [{}]},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": 3}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "secret"}]},
        {"role": "user", "content": [{"type": ["text"], "text": "x"}]},
        {"role": "system", "content": 3},
        {"role": "assistant", "tool_calls": 3},
        {"role": "assistant", "tool_calls": {"secret": 1}},
        {"role": "assistant", "tool_calls": [3]},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "x"}}]},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "[1]"}}]},
        {"role": "tool", "content": "x"},
        {"role": "tool", "tool_call_id": 3, "content": "x"},
    ],
    ids=str,
)
def test_malformed_messages(message: Any) -> None:
    with pytest.raises(ProviderRejectedRequest) as caught:
        translate_request(ask((USER, message), {}), stream=False)
    assert caught.value.status == 400
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("params", "message"), [({"stream_options": 3}, USER), ({"n": [1]}, USER), ({}, "x")])
def test_openai_s_dialect_minds_what_it_touches(params: dict[str, Any], message: Any) -> None:
    with pytest.raises(ProviderRejectedRequest):
        OpenAIDialect().encode(ask((message,), params), stream=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["user", "assistant", "tool", "system", "text", "image_url", "function", "custom", "auto", "json_schema"]
)
NAMES = st.sampled_from(
    ["type", "role", "content", "text", "name", "function", "arguments", "id", "tool_calls", "tool_call_id", "url",
     "image_url", "json_schema", "schema", "refusal", "cache_control", "source", "parameters"]
)  # fmt: skip
NEARLY = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
PARAMETERS = st.sampled_from(
    ["stop", "tools", "tool_choice", "response_format", "n", "modalities", "metadata", "user", "safety_identifier",
     "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "parallel_tool_calls", "output_config",
     "logprobs", "functions", "stream", "stream_options", "model", "messages", "thinking", "something_new"]
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.lists(NEARLY, max_size=4), st.dictionaries(PARAMETERS, NEARLY, max_size=5), st.booleans())
def test_only_our_errors_come_out_and_what_is_sent_is_json(messages: list[Any], params: Any, stream: bool) -> None:
    statuses = {400}
    for dialect in (AnthropicDialect(), OpenAIDialect()):
        try:
            outgoing = dialect.encode(ask(tuple(messages), params), stream=stream)
        except PromptyardError as error:
            statuses.add(error.status)
        else:
            assert msgspec.json.decode(msgspec.json.encode(outgoing.body))["model"] == REF.model
    assert statuses == {400}
