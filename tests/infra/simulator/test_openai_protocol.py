"""OpenAI's protocol, seen through the installed SDK."""

import json
from typing import Any

import httpx
import openai
import pytest

DOCUMENTS = """[doc:returns] Returns
A lamp can be returned within 30 days of delivery.

[doc:shipping] Shipping
Shipping takes 3 working days and costs €4."""
SYSTEM = f"Answer from the articles and cite them.\n\n{DOCUMENTS}"
QUESTION = "How long does shipping take?"


def _messages(question: str = QUESTION) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def test_a_completion_answers_and_counts_its_tokens(openai_client: openai.OpenAI) -> None:
    done = openai_client.chat.completions.create(model="gpt-4.1", messages=_messages(), temperature=0)

    assert done.choices[0].message.content == "Shipping takes 3 working days and costs €4. [doc:shipping]"
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.usage.prompt_tokens > 40 > done.usage.completion_tokens > 8
    assert done.id.startswith("chatcmpl-")
    assert done._request_id is not None


def test_a_stream_says_the_same_and_ends_with_its_usage(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(model="gpt-4.1", messages=_messages(), temperature=0)
    chunks = list(
        openai_client.chat.completions.create(
            model="gpt-4.1", messages=_messages(), temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )

    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == whole.choices[0].message.content
    assert len([s for s in said if s]) > 2
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert all(c.usage is None for c in chunks[:-1])


def test_a_stream_without_the_option_has_no_usage(openai_client: openai.OpenAI) -> None:
    chunks = list(openai_client.chat.completions.create(model="gpt-4.1", messages=_messages(), stream=True))

    assert all(c.usage is None and c.choices for c in chunks)


def test_max_tokens_and_stop_cut_the_answer(openai_client: openai.OpenAI) -> None:
    short = openai_client.chat.completions.create(model="gpt-4.1", messages=_messages(), temperature=0, max_tokens=4)
    newer = openai_client.chat.completions.create(
        model="gpt-4.1", messages=_messages(), temperature=0, max_completion_tokens=4
    )
    stopped = openai_client.chat.completions.create(model="gpt-4.1", messages=_messages(), temperature=0, stop=[" and"])

    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 4
    assert newer.choices[0].message.content == short.choices[0].message.content
    assert stopped.choices[0].message.content == "Shipping takes 3 working days"
    assert stopped.choices[0].finish_reason == "stop"


def test_zero_temperature_repeats_itself_and_a_seed_fixes_the_rest(openai_client: openai.OpenAI) -> None:
    def ask(**options: object) -> str | None:
        done = openai_client.chat.completions.create(
            model="gpt-4.1", messages=_messages("Do you sell boats?"), **options
        )  # type: ignore[call-overload]
        return done.choices[0].message.content

    assert len({ask(temperature=0, seed=n) for n in range(8)}) == 1
    assert len({ask(temperature=1, seed=5) for _ in range(8)}) == 1
    assert len({ask(temperature=1, seed=n) for n in range(30)}) > 1


def test_json_is_returned_in_the_schema_that_was_asked_for(openai_client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string"},
            "sources": {"type": "array", "items": {"type": "string"}},
            "confidence": {"type": "number"},
            "answered": {"type": "boolean"},
        },
    }
    strict = openai_client.chat.completions.create(
        model="gpt-4.1",
        messages=_messages(),
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    )
    loose = openai_client.chat.completions.create(
        model="gpt-4.1", messages=_messages(), temperature=0, response_format={"type": "json_object"}
    )

    read = json.loads(strict.choices[0].message.content or "")
    assert read["sources"] == ["shipping"]
    assert read["answered"] is True
    assert isinstance(read["confidence"], float)
    assert "3 working days" in json.loads(loose.choices[0].message.content or "")["answer"]


def test_a_forced_tool_is_called(openai_client: openai.OpenAI) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "find_order",
            "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
        },
    }
    messages = [{"role": "user", "content": "Where is order A-4711?"}]
    called = openai_client.chat.completions.create(
        model="gpt-4.1",
        messages=messages,
        tools=[tool],
        tool_choice="required",
        temperature=0,  # type: ignore[call-overload]
    )
    spoken = openai_client.chat.completions.create(model="gpt-4.1", messages=messages, tools=[tool], temperature=0)  # type: ignore[call-overload]

    call = called.choices[0].message.tool_calls[0]
    assert called.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("find_order", {"order": "A-4711"})
    assert spoken.choices[0].message.tool_calls is None


def test_embeddings_are_the_same_in_both_encodings(openai_client: openai.OpenAI) -> None:
    texts = ["refund policy", "How do I get my money back?"]
    packed = openai_client.embeddings.create(model="text-embedding-3-small", input=texts)
    plain = openai_client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")

    assert len(packed.data) == 2
    assert len(packed.data[0].embedding) == 1536
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert packed.usage.total_tokens == plain.usage.total_tokens > 0


def test_models_are_listed(openai_client: openai.OpenAI) -> None:
    assert {"gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"} <= {m.id for m in openai_client.models.list()}
    assert openai_client.models.retrieve("gpt-5").id == "gpt-5"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"model": "m"', "JSON"),
        ('{"model": "m"}', "messages"),
        ('{"model": 5, "messages": []}', "model"),
        ('{"model": "m", "messages": []}', "messages"),
        ('{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n=1"),
        ('{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 3}', "temperature"),
        ('{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
    ],
)
def test_a_malformed_request_is_refused_in_words(base_url: str, body: str, word: str) -> None:
    answer = httpx.post(f"{base_url}/v1/chat/completions", content=body, headers={"authorization": "Bearer k"})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert word in answer.json()["error"]["message"]


def test_errors_reach_the_sdk_as_its_own(base_url: str, openai_client: openai.OpenAI) -> None:
    keyless = httpx.post(f"{base_url}/v1/chat/completions", json={"model": "m", "messages": []})

    assert keyless.status_code == 401
    assert keyless.json()["error"]["code"] == "invalid_api_key"
    with pytest.raises(openai.NotFoundError):
        openai_client.post("/no/such/path", cast_to=object, body={})
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(model="m", messages=[])
    for bad in ([], ["fine", ""], ["fine", "word " * 9_000]):
        with pytest.raises(openai.BadRequestError):
            openai_client.embeddings.create(model="m", input=bad)


def test_the_wrong_method_is_refused(base_url: str) -> None:
    assert httpx.get(f"{base_url}/v1/chat/completions").status_code == 405


def test_tools_are_called_in_one_message_whole_and_streamed(openai_client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "calculate", "parameters": {"type": "object"}}}
    body: dict[str, Any] = {
        "model": "gpt-4.1",
        "messages": [{"role": "user", "content": "Think aloud: what are 12*7 and 1+1?"}],
        "tools": [tool],
        "temperature": 0,
    }
    whole = openai_client.chat.completions.create(**body).choices[0]
    with openai_client.chat.completions.stream(**body) as stream:
        streamed = stream.get_final_completion().choices[0]

    for choice in (whole, streamed):
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
        calls = [call.function.arguments for call in choice.message.tool_calls or []]
        assert [json.loads(call) for call in calls] == [{"expression": "12*7"}, {"expression": "1+1"}]

    answered = [
        *body["messages"],
        whole.message.model_dump(exclude_none=True),
        *(
            {"role": "tool", "tool_call_id": call.id, "content": str(n)}
            for n, call in enumerate(whole.message.tool_calls or [], 84)
        ),
    ]
    told = openai_client.chat.completions.create(**body | {"messages": answered}).choices[0].message
    assert (told.content, told.tool_calls) == ("The result is 84. The result is 85.", None)
    barred = openai_client.chat.completions.create(**body, tool_choice="none").choices[0].message
    assert barred.tool_calls is None
