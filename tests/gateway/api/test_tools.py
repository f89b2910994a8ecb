"""Tools that the gateway executes: by the official SDKs, in both providers' protocols, whole and streamed."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.auth.keys import create_key
from gateway.compose import compose
from gateway.dialogue import MAX_TOOL_ROUNDS
from gateway.tools.execution import MAX_RESULT_CHARS
from gateway.tools.signature import ToolDefinitionError
from gateway.types import KeyLimits
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, gateway_stack, prompt_version, unique

pytestmark = pytest.mark.integration

MODELS = ["openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"]
EACH_WAY = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
EACH_MODEL = pytest.mark.parametrize("model", MODELS, ids=["openai", "anthropic"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with gateway_stack(tmp_path_factory.mktemp("tools"), tools=["tests.gateway.api.yard_tools"]) as running:
        yield running


@pytest.fixture(scope="module")
def yard(stack: Stack) -> Shop:
    """A shop that tests share which leave nothing behind."""
    return open_shop(stack, unique("yard"), unique("help"))


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    opened = open_shop(stack, unique("tooled"), unique("help"))
    yield opened
    opened.openai.close()
    opened.http.close()


def ask(
    shop: Shop,
    question: str,
    *tools: str,
    model: str = MODELS[0],
    streaming: bool = False,
    client: openai.OpenAI | None = None,
    **options: Any,
) -> ChatCompletion:
    """A raw call, assembled by the SDK if it is streamed."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "extra_body": {"promptyard": {"tools": list(tools), **options}},
    }
    completions = (client or shop.openai).chat.completions
    if not streaming:
        return completions.create(**body)  # type: ignore[no-any-return]
    with completions.stream(**body, stream_options={"include_usage": True}) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    assert not any(choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)
    assert [c.delta.role for chunk in chunks for c in chunk.choices if c.delta.role] == ["assistant"]
    final.promptyard = chunks[-1].promptyard  # type: ignore[attr-defined]
    return final


def text(done: ChatCompletion) -> str:
    [choice] = done.choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    return choice.message.content or ""


def told(done: ChatCompletion | ChatCompletionChunk) -> dict[str, Any]:
    found: dict[str, Any] = done.promptyard  # type: ignore[union-attr]
    return found


def explained(shop: Shop, done: ChatCompletion) -> dict[str, Any]:
    shop.stack.ship()
    body: dict[str, Any] = shop.http.get(f"/v1/calls/{told(done)['call_id']}").raise_for_status().json()
    return body


# --- the loop


@EACH_MODEL
@EACH_WAY
def test_tools_are_executed_and_the_model_says_what_came_of_it(shop: Shop, model: str, streaming: bool) -> None:
    before = shop.stack.simulator.calls()
    done = ask(shop, "What are 12*7 and 1+1?", "calculate", "current_time", model=model, streaming=streaming)
    assert text(done) == "The result is 84. The result is 2."
    assert shop.stack.simulator.calls() - before == 2
    story = explained(shop, done)
    assert story["tools"] == ["calculate", "calculate"]
    assert {"tools", "provider"} <= story["stages_ms"].keys()
    assert [f"{attempt['provider']}/{attempt['model']}" for attempt in story["attempts"]] == [model, model]


@EACH_MODEL
@EACH_WAY
def test_all_rounds_are_counted_and_paid(shop: Shop, model: str, streaming: bool) -> None:
    plain = ask(shop, "What is 12*7?", model=model, cache="bypass")
    done = ask(shop, "What is 12*7?", "calculate", model=model, streaming=streaming)
    assert plain.usage is not None
    assert done.usage is not None
    assert done.usage.prompt_tokens > 2 * plain.usage.prompt_tokens  # asked twice, the second time with the result
    [*_, row] = shop.stack.calls(shop.tenant)
    assert (row.input_tokens, row.output_tokens) == (done.usage.prompt_tokens, done.usage.completion_tokens)
    assert row.cost_usd is not None
    assert float(row.cost_usd) == told(done)["cost_usd"] > told(plain)["cost_usd"]


@EACH_MODEL
def test_what_is_said_between_rounds_is_kept_apart_alike_whole_and_streamed(shop: Shop, model: str) -> None:
    question = "Think aloud: what is 12*7?"
    answers = [
        text(ask(shop, question, "calculate", model=model, streaming=way, cache="bypass")) for way in (False, True)
    ]
    assert answers == ["Let me see.\n\nThe result is 84."] * 2


@EACH_MODEL
@EACH_WAY
def test_a_model_that_never_stops_is_stopped(yard: Shop, model: str, streaming: bool) -> None:
    before = yard.stack.simulator.calls()
    done = ask(yard, "Work out 1+1 over and over.", "calculate", model=model, streaming=streaming, cache="refresh")
    assert text(done) == "The result is 2."
    assert yard.stack.simulator.calls() - before == MAX_TOOL_ROUNDS + 1
    assert explained(yard, done)["tools"] == ["calculate"] * MAX_TOOL_ROUNDS


def test_a_fallback_has_the_same_tools(shop: Shop) -> None:
    tooled(shop, "calculate")
    with shop.stack.simulator.faults({"scope": {"provider": "openai"}, "outage": True}):
        body = shop.ask("What is 12*7?", promptyard={"cache": "bypass"}).json()
    assert body["choices"][0]["message"]["content"] == "The result is 84."
    assert body["promptyard"]["provider"] == "anthropic"


# --- what the model is told when a tool does not work


@EACH_MODEL
@EACH_WAY
@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is 1/0?", "division by zero"),
        ("Use broken.", "the tool 'broken' failed"),
        ('Use padded with {"size": "4"}', "size: Input should be a valid integer"),
        ('Use padded with {"sise": 4}', "size: Field required"),
    ],
)
def test_a_tool_that_fails_says_so_to_the_model_and_its_answer_is_not_kept(
    yard: Shop, question: str, words: str, model: str, streaming: bool
) -> None:
    done = ask(yard, question, "calculate", "broken", "padded", model=model, streaming=streaming)
    assert words in text(done)
    assert "hunter2" not in done.model_dump_json()
    assert explained(yard, done)["cache"]["kept"] == "tools"
    assert told(ask(yard, question, "calculate", "broken", "padded", model=model))["cache"]["layer"] == "none"


def test_a_long_result_is_cut(yard: Shop) -> None:
    done = ask(yard, 'Use padded with {"size": 100000}', "padded")
    assert MAX_RESULT_CHARS < len(text(done)) < MAX_RESULT_CHARS + 200
    assert "of 100,000 characters" in text(done)


# --- the cache


@EACH_WAY
def test_answers_of_repeatable_tools_are_kept(shop: Shop, streaming: bool) -> None:
    first = ask(shop, "What is 12*7?", "calculate", streaming=streaming)
    again = ask(shop, "What is 12*7?", "calculate", streaming=not streaming)
    assert (told(first)["cache"]["layer"], told(again)["cache"]["layer"]) == ("none", "exact")
    assert text(first) == text(again)


@EACH_WAY
@pytest.mark.parametrize(("question", "tool"), [("What time is it?", "current_time"), ("Use ticket.", "ticket")])
def test_answers_of_others_are_not(shop: Shop, question: str, tool: str, streaming: bool) -> None:
    first = ask(shop, question, tool, streaming=streaming)
    again = ask(shop, question, tool, streaming=streaming)
    assert [told(done)["cache"]["layer"] for done in (first, again)] == ["none", "none"]
    assert explained(shop, first)["cache"]["kept"] == "tools"
    if tool == "ticket":
        assert text(first) != text(again)


def test_an_answer_that_needed_no_tool_is_kept(shop: Shop) -> None:
    layers = [told(ask(shop, "Hello!", "current_time"))["cache"]["layer"] for _ in range(2)]
    assert layers == ["none", "exact"]


def test_calls_that_differ_in_their_tools_never_share_an_answer(shop: Shop) -> None:
    choices: list[tuple[str, ...]] = [
        (), ("calculate",), ("padded",), ("calculate", "padded"), ("padded", "calculate"),
    ]  # fmt: skip
    assert [told(ask(shop, "Hello!", *tools))["cache"]["layer"] for tools in choices] == ["none"] * len(choices)
    assert [told(ask(shop, "Hello!", *tools))["cache"]["layer"] for tools in choices] == ["exact"] * len(choices)


# --- managed prompts and documents


def tooled(shop: Shop, *tools: str) -> None:
    shop.stack.add(prompt_version(shop.tenant, shop.prompt, "1.0.1", tools=tools))


LOOK_UP = "Look up when parcels arrive."


@EACH_WAY
def test_a_managed_prompt_searches_its_own_documents(shop: Shop, streaming: bool) -> None:
    tooled(shop, "search_documents")
    body: dict[str, Any] = {
        "model": f"prompt:{shop.prompt}",
        "messages": [],
        "extra_body": {"variables": {"question": LOOK_UP}},
    }
    for version, words in enumerate(("three days", "seven days"), 1):
        shop.put("shipping", "Shipping times", f"Parcels arrive within {words}.")
        if streaming:
            with shop.openai.chat.completions.stream(**body) as stream:
                done = [event.chunk for event in stream if event.type == "chunk"][-1]
                said = stream.get_final_completion().choices[0].message.content
        else:
            done = shop.openai.chat.completions.create(**body)
            said = done.choices[0].message.content
        assert said == f"Parcels arrive within {words}. [doc:shipping]"
        assert told(done)["documents"] == [f"doc:{shop.prompt}/shipping@{version}"]


def test_what_a_tool_finds_is_the_tenants_own(shop: Shop) -> None:
    rival = open_shop(shop.stack, unique("rival"), shop.prompt)
    rival.put("shipping", "Shipping times", "Parcels of the rival never arrive.")
    for one in (shop, rival):
        tooled(one, "search_documents")
    answers = [one.answer(LOOK_UP)[0] for one in (shop, rival, shop)]
    assert answers[0] == answers[2] == "Parcels arrive within three days. [doc:shipping]"
    assert answers[1] == "Parcels of the rival never arrive. [doc:shipping]"
    rival.openai.close()
    rival.http.close()


def test_anthropics_sdk_gets_the_same(shop: Shop) -> None:
    tooled(shop, "calculate")
    client = anthropic.Anthropic(base_url=shop.stack.url, api_key=shop.key, max_retries=0, timeout=30)
    body: dict[str, Any] = {
        "model": f"prompt:{shop.prompt}",
        "max_tokens": 100,
        "messages": [],
        "extra_body": {"variables": {"question": "What is 12*7?"}},
    }
    with client:
        with client.messages.stream(**body) as stream:
            streamed = stream.get_final_message()
        whole = client.messages.create(**body)
    for done in (streamed, whole):
        assert [(block.type, getattr(block, "text", "")) for block in done.content] == [("text", "The result is 84.")]
        assert done.stop_reason == "end_turn"


def test_a_raw_call_searches_the_collection_that_it_names(shop: Shop) -> None:
    done = ask(shop, LOOK_UP, "search_documents", collection=shop.prompt)
    assert text(done) == "Parcels arrive within three days. [doc:shipping]"
    assert told(done)["documents"] == [f"doc:{shop.prompt}/shipping@1"]
    assert "no collection" in text(ask(shop, LOOK_UP, "search_documents"))


# --- who may, and what is refused


@EACH_WAY
@pytest.mark.parametrize("managed", [False, True])
def test_an_unknown_tool_is_said_to_be_none(shop: Shop, managed: bool, streaming: bool) -> None:
    if managed:
        tooled(shop, "hammer")
        response = shop.ask(stream=streaming)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_tool")
    else:
        with pytest.raises(openai.NotFoundError, match="no tool 'hammer'"):
            ask(shop, "Hello!", "hammer", streaming=streaming)


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"tools": "calculate"}, MODELS[0]),
        ({"tools": [1]}, MODELS[0]),
        ({"tools": [""]}, MODELS[0]),
        ({"tools": ["calculate", "calculate"]}, MODELS[0]),
        ({"tools": [f"t{n}" for n in range(17)]}, MODELS[0]),
        ({"collection": "help"}, MODELS[0]),
        ({"tools": ["calculate"], "collection": "a/b"}, MODELS[0]),
        ({"tools": ["calculate"], "collection": 7}, MODELS[0]),
        ({"tools": ["calculate"]}, "prompt:managed"),
    ],
)
def test_options_that_are_wrong_are_refused(yard: Shop, options: dict[str, Any], model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "promptyard": options}
    response = yard.http.post("/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_tools_need_their_scope_and_documents_theirs(shop: Shop) -> None:
    tooled(shop, "calculate")
    chat = shop.stack.openai(shop.stack.key(shop.tenant, ["chat"]))
    with pytest.raises(openai.PermissionDeniedError, match="'tools'"):
        ask(shop, "What is 12*7?", "calculate", client=chat)
    managed = chat.chat.completions.create(
        model=f"prompt:{shop.prompt}", messages=[], extra_body={"variables": {"question": "What is 12*7?"}}
    )
    assert text(managed) == "The result is 84."
    tools = shop.stack.openai(shop.stack.key(shop.tenant, ["chat", "tools"]))
    assert text(ask(shop, "What is 12*7?", "calculate", client=tools)) == "The result is 84."
    with pytest.raises(openai.PermissionDeniedError, match="'documents:read'"):
        ask(shop, LOOK_UP, "search_documents", client=tools, collection=shop.prompt)
    bare = shop.stack.http(shop.stack.key(shop.tenant, ["chat", "documents:read"]))
    assert bare.get("/v1/tools").status_code == 403
    assert bare.post("/v1/tools/calculate", json={"arguments": {"expression": "1"}}).status_code == 403
    assert shop.stack.http().get("/v1/tools").status_code == 401
    search = {"arguments": {"query": "parcels"}, "collection": shop.prompt}
    only = shop.stack.http(shop.stack.key(shop.tenant, ["tools"]))
    assert only.post("/v1/tools/search_documents", json=search).status_code == 403


# --- /v1/tools


def test_the_list_says_what_a_model_would_be_told(yard: Shop) -> None:
    listed = {one["name"]: one for one in yard.http.get("/v1/tools").raise_for_status().json()["data"]}
    assert list(listed) == sorted(
        ["broken", "calculate", "current_time", "padded", "search_documents", "ticket", "whoami"]
    )
    assert listed["whoami"] == {
        "name": "whoami",
        "description": "Say for which tenant this works.",
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
        "repeatable": False,
        "timeout_seconds": 5.0,
    }
    assert listed["search_documents"]["input_schema"]["required"] == ["query"]
    assert listed["calculate"]["repeatable"]


def run(shop: Shop, name: str, arguments: Any = None, **more: Any) -> tuple[int, Any]:
    """Status, and the result or the error's code."""
    body = {"arguments": {} if arguments is None else arguments, **more}
    response = shop.http.post(f"/v1/tools/{name}", json=body)
    value = response.json()
    if response.status_code != 200:
        assert "hunter2" not in response.text
        return response.status_code, value["error"]["code"]
    assert set(value) == {"result", "duration_ms", "truncated"}
    assert value["duration_ms"] >= 0
    return 200, value["result"]


def test_a_tool_is_run_for_the_keys_own_tenant(shop: Shop) -> None:
    assert run(shop, "calculate", {"expression": "2**100"}) == (200, 2**100)
    assert run(shop, "whoami") == (200, {"tenant": shop.tenant, "collection": ""})
    status, [found] = run(shop, "search_documents", {"query": "When do parcels arrive?"}, collection=shop.prompt)
    assert (status, found["document"], found["text"]) == (200, "shipping", "Parcels arrive within three days.")
    rival = open_shop(shop.stack, unique("rival"), unique("other"))
    assert run(rival, "search_documents", {"query": "When do parcels arrive?"}, collection=shop.prompt) == (200, [])
    status, cut = run(shop, "padded", {"size": 100_000})
    assert (status, cut.endswith("characters]")) == (200, True)


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("hammer", {}, 404, "unknown_tool"),
        ("calculate", {}, 400, "invalid_request"),
        ("calculate", {"arguments": {"expression": 7}}, 400, "invalid_request"),
        ("calculate", {"arguments": {"expression": "1/0"}}, 400, "invalid_request"),
        ("calculate", {"arguments": {"expression": "1", "also": 2}}, 400, "invalid_request"),
        ("calculate", {"arguments": [1]}, 400, "invalid_request"),
        ("calculate", {"argument": {}}, 400, "invalid_request"),
        ("search_documents", {"arguments": {"query": "x"}}, 400, "invalid_request"),
        ("search_documents", {"arguments": {"query": "x"}, "collection": "../x"}, 400, "invalid_request"),
        ("broken", {}, 502, "tool_failed"),
    ],
)
def test_what_goes_wrong_has_a_code(yard: Shop, name: str, body: Any, status: int, code: str) -> None:
    response = yard.http.post(f"/v1/tools/{name}", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "hunter2" not in response.text


def test_a_run_is_a_request_of_the_key(yard: Shop) -> None:
    key, _ = create_key(yard.stack.engine, yard.stack.clock, yard.tenant, "two", ["tools"], KeyLimits(2))
    client = yard.stack.http(key)
    codes = [client.post("/v1/tools/whoami", json={}).status_code for _ in range(4)]
    assert codes[0] == 200
    assert codes[-1] == 429


def test_a_gateway_with_a_bad_tool_does_not_start(stack: Stack) -> None:
    with pytest.raises(ToolDefinitionError, match="'no_such_tools'"):
        compose(stack.settings.model_copy(update={"tools": ["no_such_tools"]}))
