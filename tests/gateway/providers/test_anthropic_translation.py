"""The way to Anthropic's terms and back, by table."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ProviderRejectedRequest
from gateway.providers.anthropic_reply import AnthropicStreamReader, translate_reply
from gateway.providers.anthropic_request import translate_request
from gateway.providers.unsent import ProviderLacksFeature
from gateway.types import Completion, ModelRef, Usage

USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
FUNCTION = {"name": "weather", "description": "Weather of a city", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
USE = {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}


def ask(*messages: dict[str, Any], **params: Any) -> Completion:
    return Completion(call_id="c", messages=messages, params=params, ref=ModelRef("anthropic", "claude-sonnet-5-5"))


def body(*messages: dict[str, Any], **params: Any) -> dict[str, Any]:
    return dict(translate_request(ask(*messages, **params), stream=False).body)


@pytest.mark.parametrize(
    ("messages", "system", "turns"),
    [
        ([USER], None, [USER]),
        (
            [{"role": "system", "content": "Be brief."}, USER, {"role": "developer", "content": "Cite."}],
            "Be brief.\n\nCite.",
            [USER],
        ),
        ([{"role": "system", "content": "Alone."}], None, [{"role": "user", "content": "Alone."}]),
        (
            [USER, {"role": "assistant", "content": None}, {"role": "user", "content": "more"}],
            None,
            [{"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "more"}]}],
        ),
        (
            [USER, {"role": "assistant", "content": None, "refusal": "No."}],
            None,
            [USER, {"role": "assistant", "content": "No."}],
        ),
        (  # the results of parallel calls come in one turn
            [
                USER,
                {"role": "assistant", "content": "", "tool_calls": [CALL, CALL | {"id": "c2"}]},
                {"role": "tool", "tool_call_id": "c1", "content": "rain"},
                {"role": "tool", "tool_call_id": "c2", "content": "sun"},
            ],
            None,
            [
                USER,
                {"role": "assistant", "content": [USE, USE | {"id": "c2"}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "c1", "content": "rain"},
                        {"type": "tool_result", "tool_use_id": "c2", "content": "sun"},
                    ],
                },
            ],
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    ],
                }
            ],
            None,
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "See", "cache_control": {"type": "ephemeral"}},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                        },
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    ],
                }
            ],
        ),
    ],
)
def test_messages(messages: list[dict[str, Any]], system: str | None, turns: list[dict[str, Any]]) -> None:
    made = body(*messages)
    assert made.get("system") == system
    assert made["messages"] == turns


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"max_tokens": 1024}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 9, "max_tokens": 7}, {"max_tokens": 9}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
        ({"metadata": {"team": "x"}}, {}),
        ({"seed": 3, "presence_penalty": 1, "n": 1, "logprobs": False, "stream_options": {}}, {}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        (
            {"tools": [TOOL]},
            {"tools": [{"name": "weather", "description": "Weather of a city", "input_schema": {"type": "object"}}]},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        (
            {"response_format": {"type": "json_object"}},
            {"system": "Answer with a single JSON object and with nothing before or after it."},
        ),
        ({"response_format": {"type": "text"}}, {}),
    ],
)
def test_parameters(params: dict[str, Any], expected: dict[str, Any]) -> None:
    made = body(USER, **params)
    plain = {"model": "claude-sonnet-5-5", "messages": [USER], "max_tokens": 1024}
    assert made == plain | expected


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: Any, parallel: bool | None, expected: dict[str, Any] | None) -> None:
    made = body(USER, tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel)
    assert made.get("tool_choice") == expected


@pytest.mark.parametrize(
    "params",
    [
        {"n": 2},
        {"logprobs": True},
        {"modalities": ["text", "audio"]},
        {"stop": "\n"},
        {"functions": [FUNCTION]},
        {"response_format": {"type": "grammar"}},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}},
    ],
)
def test_what_would_change_the_answer_s_shape_is_never_dropped_in_silence(params: dict[str, Any]) -> None:
    with pytest.raises(ProviderLacksFeature) as caught:
        body(USER, **params)
    assert caught.value.fall_back
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"role": "function", "name": "x", "content": "y"}, ProviderLacksFeature),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, ProviderLacksFeature),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}, ProviderLacksFeature),
        ({"role": "user", "content": 3}, ProviderRejectedRequest),
        (
            {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "w", "arguments": "{secret"}}]},
            ProviderRejectedRequest,
        ),
    ],
)
def test_messages_that_cannot_be_told(message: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        body(USER, message)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_finish_reasons(stop_reason: str, finish_reason: str) -> None:
    assert translate_reply({"content": [], "stop_reason": stop_reason}).finish_reason == finish_reason


def test_tool_use_becomes_tool_calls() -> None:
    parsed = translate_reply(
        {
            "content": [{"type": "text", "text": "Looking."}, USE, USE | {"id": "c2", "input": {}}],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }
    )
    assert parsed.message == {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
            {"id": "c2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        ],
    }
    assert parsed.usage == Usage(10, 5, 0)


def as_events(blocks: list[dict[str, Any]], cut: int) -> list[dict[str, Any]]:
    """The stream of a message whose texts come in pieces of ``cut`` characters."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"usage": {"input_tokens": 9}}}]
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            opening, text, kind, name = block | {"text": ""}, block["text"], "text_delta", "text"
        else:
            text = '{"city":"Oslo"}' if block["input"] else ""
            opening, kind, name = block | {"input": {}}, "input_json_delta", "partial_json"
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        for start in range(0, len(text), cut):
            delta = {"type": kind, name: text[start : start + cut]}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}})
    return [*events, {"type": "message_stop"}]


BLOCKS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=12)),
        st.sampled_from([USE, USE | {"id": "c2", "input": {}}]),
    ),
    max_size=5,
)


@settings(deadline=None)
@given(BLOCKS, st.integers(1, 5))
def test_a_stream_makes_the_same_message_as_the_whole_answer(blocks: list[dict[str, Any]], cut: int) -> None:
    reader = AnthropicStreamReader()
    deltas = [reader.feed(event) for event in as_events(blocks, cut)]
    streamed = reader.finish()
    whole = translate_reply(
        {"content": blocks, "stop_reason": "end_turn", "usage": {"input_tokens": 9, "output_tokens": 4}}
    )
    assert streamed == whole
    numbers = [piece["index"] for delta in deltas for piece in delta.get("tool_calls", ())]
    assert sorted(set(numbers)) == list(range(len([block for block in blocks if block["type"] == "tool_use"])))


def test_a_stream_without_a_stop_reason_is_not_complete() -> None:
    reader = AnthropicStreamReader()
    for event in as_events([{"type": "text", "text": "hi"}], 2)[:-2]:
        reader.feed(event)
    assert reader.finish() is None
