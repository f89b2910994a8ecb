"""Anthropic's protocol, seen through the installed SDK."""

import anthropic
import httpx
import pytest

SYSTEM = """Answer from the articles. If they do not answer, say that you don't know.

<document id="hours"><title>Opening hours</title>The shop opens at 09:00 and closes at 17:30.</document>
<document id="bikes"><title>Bicycles</title>A bicycle is inspected every 6 months.</document>"""


def _ask(anthropic_client: anthropic.Anthropic, question: str, **options: object) -> anthropic.types.Message:
    settings = {"max_tokens": 100, "system": SYSTEM, "extra_body": {"temperature": 0}} | options
    return anthropic_client.messages.create(  # type: ignore[no-any-return, call-overload]
        model="claude-sonnet-4-5", messages=[{"role": "user", "content": question}], **settings
    )


def test_a_message_answers_and_counts_its_tokens(anthropic_client: anthropic.Anthropic) -> None:
    done = _ask(anthropic_client, "How often is a bicycle inspected?")

    assert done.content[0].type == "text"
    assert done.content[0].text == "A bicycle is inspected every 6 months."
    assert (done.stop_reason, done.role, done.model) == ("end_turn", "assistant", "claude-sonnet-4-5")
    assert done.usage.input_tokens > 30
    assert 7 < done.usage.output_tokens < 12


def test_content_and_system_may_come_in_blocks(anthropic_client: anthropic.Anthropic) -> None:
    done = anthropic_client.messages.create(
        model="claude-sonnet-4-5",
        max_tokens=100,
        system=[{"type": "text", "text": SYSTEM}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "When does the shop open?"}]}],
        extra_body={"temperature": 0},
    )

    assert done.content[0].type == "text"
    assert "09:00" in done.content[0].text


def test_a_stream_says_the_same(anthropic_client: anthropic.Anthropic) -> None:
    whole = _ask(anthropic_client, "When does the shop open?")
    with anthropic_client.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=100,
        system=SYSTEM,
        messages=[{"role": "user", "content": "When does the shop open?"}],
        extra_body={"temperature": 0},
    ) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()

    assert [block.text for block in final.content] == [block.text for block in whole.content]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == "end_turn"
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_limits_and_stop_sequences_name_what_ended_the_answer(anthropic_client: anthropic.Anthropic) -> None:
    short = _ask(anthropic_client, "When does the shop open?", max_tokens=3)
    stopped = _ask(anthropic_client, "When does the shop open?", stop_sequences=[" and"])

    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 3)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " and")


def test_a_forced_tool_is_used(anthropic_client: anthropic.Anthropic) -> None:
    tool = {"name": "look", "input_schema": {"type": "object", "properties": {"order": {"type": "string"}}}}
    done = _ask(anthropic_client, "Where is order A-4711?", tools=[tool], tool_choice={"type": "tool", "name": "look"})

    assert done.stop_reason == "tool_use"
    assert done.content[0].type == "tool_use"
    assert (done.content[0].name, done.content[0].input) == ("look", {"order": "A-4711"})


def test_errors_reach_the_sdk_as_its_own(base_url: str, anthropic_client: anthropic.Anthropic) -> None:
    keyless = httpx.post(f"{base_url}/v1/messages", json={"model": "m", "max_tokens": 5, "messages": []})

    assert keyless.status_code == 401
    assert keyless.json()["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.BadRequestError) as refused:
        _ask(anthropic_client, "x", max_tokens=0)
    assert "max_tokens" in str(refused.value)
    with pytest.raises(anthropic.NotFoundError):
        anthropic_client.post("/v1/none", cast_to=object, body={})


def test_models_are_listed_in_its_shape(anthropic_client: anthropic.Anthropic) -> None:
    assert "claude-haiku-4-5" in {m.id for m in anthropic_client.models.list()}


def test_tools_are_used_in_one_message_whole_and_streamed(anthropic_client: anthropic.Anthropic) -> None:
    tool = {"name": "calculate", "input_schema": {"type": "object"}}
    question = "Think aloud: what are 12*7 and 1+1?"
    whole = _ask(anthropic_client, question, tools=[tool])
    with anthropic_client.messages.stream(
        model="claude-haiku-4-5",
        max_tokens=100,
        messages=[{"role": "user", "content": question}],
        tools=[{"name": "calculate", "input_schema": {"type": "object"}}],
    ) as stream:
        streamed = stream.get_final_message()

    for done in (whole, streamed):
        assert (done.stop_reason, [block.type for block in done.content]) == (
            "tool_use",
            ["text", "tool_use", "tool_use"],
        )
        assert [b.input for b in done.content if b.type == "tool_use"] == [
            {"expression": "12*7"},
            {"expression": "1+1"},
        ]
