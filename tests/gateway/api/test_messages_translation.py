"""Anthropic's words in, OpenAI's inside, Anthropic's out again: what was said stays said."""

import contextlib
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.messages_request import in_openai_terms
from gateway.api.messages_response import MessageEvents, content_blocks, message, stop_reason, usage
from gateway.errors import InvalidRequest
from gateway.providers.anthropic_request import translate_request
from gateway.types import Answer, Call, Completion, Cost, Delta, Layer, ModelRef, Reply, Usage

CLAUDE = "claude-haiku-4-5"
PROVIDERS = frozenset({"openai", "anthropic", "house"})
MARK = {"type": "ephemeral"}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "The weather.", "parameters": SCHEMA}}


def user(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


HELLO = {"role": "user", "content": "Hello"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny."}

THERE_AND_BACK: list[tuple[str, dict[str, Any]]] = [
    ("words", {}),
    ("system", {"system": "Be brief."}),
    ("system with a cache mark", {"system": [text("Be brief."), text("Long.", cache_control=MARK)]}),
    ("turns", {"messages": [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And?"}]}),
    ("a prefilled answer", {"messages": [HELLO, {"role": "assistant", "content": "The answer is ("}]}),
    ("blocks with a cache mark", {"messages": [user(text("a"), text("b", cache_control=MARK))]}),
    ("an image", {"messages": [user({"type": "image", "source": PNG}, text("What is it?"))]}),
    ("a marked image", {"messages": [user({"type": "image", "source": PNG, "cache_control": MARK}, text("?"))]}),
    ("an image's address", {"messages": [user({"type": "image", "source": {"type": "url", "url": "https://a.b/c"}})]}),
    ("a kept file", {"messages": [user({"type": "document", "source": {"type": "file", "file_id": "f"}}, text("?"))]}),
    ("tools and results", {"messages": [HELLO, assistant(text("I look."), USE), user(RESULT, text("So?"))]}),
    ("results of two tools", {"messages": [HELLO, assistant(USE, USE | {"id": "2"}),
                                           user(RESULT, RESULT | {"tool_use_id": "2"})]}),
    ("a tool", {"tools": [TOOL]}),
    ("a marked tool", {"tools": [TOOL | {"cache_control": MARK, "input_examples": [{"city": "Bonn"}]}]}),
    ("a tool of its own", {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}),
    ("auto", {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ("any", {"tools": [TOOL], "tool_choice": {"type": "any"}}),
    ("named", {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}}),
    ("none", {"tools": [TOOL], "tool_choice": {"type": "none"}}),
    ("stop", {"stop_sequences": ["END", "\nHuman:"]}),
    ("sampling", {"temperature": 0.5, "top_k": 5}),
    ("thinking", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ("format", {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}}),
    ("what nobody knows yet", {"speed": "fast", "tomorrow": {"a": [1]}}),
]  # fmt: skip


@pytest.mark.parametrize("more", [case[1] for case in THERE_AND_BACK], ids=[case[0] for case in THERE_AND_BACK])
def test_a_body_survives_the_way_to_anthropic(more: dict[str, Any]) -> None:
    body = {"model": CLAUDE, "max_tokens": 64, "messages": [HELLO]} | more
    assert upstream(body) == body


def upstream(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Anthropic is asked in the end."""
    translated = in_openai_terms(body, PROVIDERS)
    messages = tuple(translated.pop("messages"))
    model = translated.pop("model")
    request = Completion(call_id="call_1", messages=messages, params=translated, ref=ModelRef("anthropic", model))
    return translate_request(request, stream=False).body


CHOICES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "auto"}, {"tool_choice": "auto"}),
    ({"type": "none"}, {"tool_choice": "none"}),
    ({"type": "any"}, {"tool_choice": "required"}),
    ({"type": "tool", "name": "w"}, {"tool_choice": {"type": "function", "function": {"name": "w"}}}),
    (
        {"type": "any", "disable_parallel_tool_use": True},
        {"tool_choice": "required", "parallel_tool_calls": False},
    ),
]


@pytest.mark.parametrize("model", ["gpt-4.1", "house/llama", "prompt:help"])
@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_others_are_asked_in_openais_terms(model: str, choice: dict[str, Any], expected: dict[str, Any]) -> None:
    body = {
        "model": model, "max_tokens": 64, "system": "Be brief.", "tools": [TOOL], "tool_choice": choice,
        "stop_sequences": ["END"],
        "messages": [HELLO, assistant(text("I look."), USE), user(RESULT, {"type": "image", "source": PNG})],
    }  # fmt: skip
    arguments = json.dumps({"city": "Bonn"}, separators=(",", ":"))
    called = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    limit = "max_completion_tokens" if model == "gpt-4.1" else "max_tokens"
    assert in_openai_terms(body, PROVIDERS) == expected | {
        "model": model,
        limit: 64,
        "stop": ["END"],
        "tools": [FUNCTION],
        "messages": [
            {"role": "system", "content": "Be brief."},
            HELLO,
            {"role": "assistant", "content": [text("I look.")], "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "Sunny."},
            {"role": "user", "content": [image]},
        ],
    }


def test_the_format_is_a_response_format_by_its_old_name_too() -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    new = in_openai_terms({"model": "gpt-4.1", "messages": [HELLO], "output_config": {"format": wanted}})
    old = in_openai_terms({"model": "gpt-4.1", "messages": [HELLO], "output_format": wanted})
    assert new == old
    assert new["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "output_config" not in new


@pytest.mark.parametrize(
    ("metadata", "given", "expected"),
    [
        ({"user_id": "u-1"}, None, "u-1"),
        ({"user_id": "u-1"}, "u-2", "u-2"),
        ({}, None, None),
        ({"user_id": "u" * 300}, None, sha256(b"u" * 300).hexdigest()),
    ],
)
def test_the_user_is_no_parameter(metadata: dict[str, Any], given: str | None, expected: str | None) -> None:
    body = {"model": CLAUDE, "messages": [HELLO], "metadata": metadata} | ({"user": given} if given else {})
    translated = in_openai_terms(body, PROVIDERS)
    assert translated.get("user") == expected
    assert "metadata" not in translated


def test_cache_marks_of_results_move_to_their_last_part_and_errors_stay_marked() -> None:
    marked = RESULT | {"cache_control": MARK, "is_error": True}
    told = in_openai_terms({"model": CLAUDE, "messages": [HELLO, assistant(USE), user(marked)]}, PROVIDERS)
    content = [text("Sunny.", cache_control=MARK)]
    assert told["messages"][-1] == {
        "role": "tool", "tool_call_id": "toolu_1", "content": content, "is_error": True,
    }  # fmt: skip


def test_signed_thoughts_are_kept_and_others_are_not() -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "eA=="}
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    said = assistant(unsigned, signed, hidden, text("Hi"))
    [_, told] = in_openai_terms({"model": CLAUDE, "messages": [HELLO, said]})["messages"]
    assert told == {"role": "assistant", "content": [text("Hi")], "thinking_blocks": [signed, hidden]}
    assert content_blocks(told | {"content": "Hi"}) == [signed, hidden, text("Hi")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"system": 1}, {"system": [1]}, {"system": [{"type": "image"}]}, {"system": [{"type": "text"}]},
        {"messages": "x"}, {"messages": [1]}, {"messages": [{"role": "user"}]},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [user({"text": "x"})]},
        {"messages": [user({"type": "tool_result"})]}, {"messages": [assistant({"type": "tool_use", "id": "1"})]},
        {"messages": [assistant(USE | {"input": []})]}, {"tools": {}}, {"tools": [1]}, {"tools": [{"name": "x"}]},
        {"tool_choice": "auto"}, {"tool_choice": {"type": "some"}}, {"tool_choice": {"type": "tool"}},
        {"stop_sequences": "x"}, {"stop_sequences": [1]}, {"metadata": 1}, {"metadata": {"user_id": 1}},
        {"output_config": 1}, {"output_config": {"format": {"type": "json"}}},
        {"output_format": {"type": "json_schema"}},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("model", ["gpt-4.1", CLAUDE])
def test_what_is_wrong_is_said(wrong: dict[str, Any], model: str) -> None:
    with pytest.raises(InvalidRequest):
        in_openai_terms({"model": model, "messages": [HELLO]} | wrong, PROVIDERS)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "name", "source", "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "system", "tools", "tool_choice", "output_config", "metadata"]), JSON
    )
)
def test_no_body_is_a_defect(body: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(in_openai_terms(body, PROVIDERS)["messages"], list)


@pytest.mark.parametrize(
    ("finish", "said", "expected"),
    [
        ("stop", {"content": "a"}, "end_turn"),
        ("length", {"content": "a"}, "max_tokens"),
        ("tool_calls", {}, "tool_use"),
        ("content_filter", {"content": ""}, "refusal"),
        ("stop", {"content": None, "refusal": "No."}, "refusal"),
        ("pause_turn", {"content": "a"}, "pause_turn"),
        ("unknown", {"content": "a"}, "end_turn"),
    ],
)
def test_stop_reasons(finish: str, said: dict[str, Any], expected: str) -> None:
    assert stop_reason(reply(said, finish)) == expected


def test_usage_counts_the_prompt_cache_apart() -> None:
    assert usage(Usage(100, 7, 60, 30)) == {
        "input_tokens": 10, "output_tokens": 7, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30,
    }  # fmt: skip


def test_arguments_that_were_cut_off_are_shown_whole() -> None:
    cut = {"id": "1", "function": {"name": "weather", "arguments": '{"city": "Bo'}}
    [block] = content_blocks({"content": None, "tool_calls": [cut]})
    assert block["input"] == {"INVALID_JSON": '{"city": "Bo'}


def reply(said: Mapping[str, Any], finish: str = "stop", used: Usage | None = None) -> Reply:
    said = {"role": "assistant", "content": None, **said}
    return Reply(message=said, finish_reason=finish, provider="openai", model="m", usage=used or Usage(5, 3))


def answer(said: Mapping[str, Any]) -> Answer:
    call = Call(id="call_1", tenant="t", received_at=0.0)
    return Answer(call=call, reply=reply(said), layer=Layer.NONE, cost=Cost(), latency_ms=1.0)


SIGNED = {"type": "thinking", "thinking": "Hm, so.", "signature": "c2ln"}
PIECES = st.lists(
    st.one_of(
        st.builds(lambda t: {"content": t}, st.text(max_size=4)),
        st.builds(lambda t: {"reasoning_content": t}, st.text(max_size=4)),
        st.builds(
            lambda n, t: {"tool_calls": [{"index": n, "function": {"arguments": t}}]}, st.integers(0, 2), st.text()
        ),
        st.just({"thinking_blocks": [SIGNED]}),
        st.just({"role": "assistant", "content": ""}),
        st.just({}),
    ),
    max_size=12,
)


@given(PIECES)
def test_events_come_in_a_valid_order(pieces: list[dict[str, Any]]) -> None:
    """Protocol: one start, blocks one after another by their numbers, one delta of the message, one stop."""
    writer = MessageEvents("call_1", "m")
    events = [event for piece in pieces for event in writer.of(Delta(delta=piece))] + list(writer.end(answer({})))
    assert [event["type"] for event in events[:1] + events[-2:]] == ["message_start", "message_delta", "message_stop"]
    opened, current = 0, None
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert (current, event["index"]) == (None, opened)
            opened, current = opened + 1, event["index"]
        else:
            assert event["index"] == current
            current = None if event["type"] == "content_block_stop" else current
    assert current is None
    assert opened > 0
    streamed = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    assert streamed == "".join(piece.get("content", "") for piece in pieces)


def test_a_thought_that_was_streamed_is_signed_at_its_end_and_not_said_twice() -> None:
    writer = MessageEvents("call_1", "m")
    pieces: list[dict[str, Any]] = [
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "so."},
        {"thinking_blocks": [SIGNED]},
        {"content": "Hi"},
    ]
    events = [event for piece in pieces for event in writer.of(Delta(delta=piece))]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == ["thinking_delta", "thinking_delta", "signature_delta", "text_delta"]
    assert [event["index"] for event in events if event["type"] == "content_block_start"] == [0, 1]


def test_a_kept_message_streams_as_the_blocks_that_it_has() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
    said = {"thinking_blocks": [SIGNED], "reasoning_content": "Hm, so.", "content": "Hi", "tool_calls": [call, call]}
    events = list(MessageEvents("call_1", "m").of(Delta(delta=said)))
    kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert kinds == [block["type"] for block in content_blocks(said)] == ["thinking", "text", "tool_use", "tool_use"]
    assert msgspec.json.encode(message(answer(said)), enc_hook=str)
