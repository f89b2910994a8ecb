"""Whatever is wrong with a request: a structured error, nothing recorded or changed, no secret told."""

import json
import logging
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import and_, select

from gateway.auth.keys import list_keys, revoke_key
from gateway.storage.engine import reading
from gateway.storage.models import ScoreRow
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import PROVIDER_KEY, Stack, unique, until

pytestmark = pytest.mark.integration

SECRET = "the-question-that-nobody-else-may-read"
CHAT, DOCUMENT, FEEDBACK = "/v1/chat/completions", "/v1/documents/help/one", "/v1/feedback"
CALL_ID = "call_" + "0" * 26


@pytest.fixture(scope="module")
def one_shop(stack: Stack) -> Shop:
    return open_shop(stack, unique("tenant"), "help")


@dataclass
class Case:
    """A request and what it gets. ``body`` is sent as JSON, ``raw`` as it is."""

    name: str
    status: int
    code: str
    method: str = "POST"
    path: str = CHAT
    body: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def managed(**changes: Any) -> dict[str, Any]:
    return {"model": "prompt:help", "variables": {"question": SECRET}} | changes


def raw_call(**changes: Any) -> dict[str, Any]:
    return {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": SECRET}]} | changes


def refused(name: str, body: Any, code: str = "invalid_request", status: int = 400, **more: Any) -> Case:
    return Case(name, status, code, body=body, **more)


def nested(levels: int) -> dict[str, Any]:
    """Objects in objects."""
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def deep(levels: int, core: bytes) -> bytes:
    """A raw call with ``core`` in that many lists, in the object of a parameter, in the body."""
    start = json.dumps(raw_call()).encode()[:-1]
    return start + b', "metadata": {"a": ' + b"[" * levels + core + b"]" * levels + b"}}"


CASES = [
    Case("not JSON", 400, "malformed_body", raw=SECRET.encode()),
    Case("half of a JSON", 400, "malformed_body", raw=json.dumps(managed()).encode()[:-1]),
    Case("an empty body", 400, "malformed_body", raw=b""),
    Case("not UTF-8", 400, "malformed_body", raw=b'{"model": "\xff\xfe"}'),
    Case("NaN", 400, "malformed_body", raw=b'{"model": "prompt:help", "temperature": NaN}'),
    Case("nested too deep", 400, "malformed_body", raw=b'{"model":' + b"[" * 100_000),
    Case("lists in lists around a number of 31 digits", 400, "malformed_body", raw=deep(800, b"1" + b"0" * 30)),
    Case("an object in lists in lists, 66 deep", 400, "malformed_body", raw=deep(63, b"{}")),
    refused("a list", [managed()], "malformed_body"),
    refused("a string", SECRET, "malformed_body"),
    refused("null", None, "malformed_body", raw=b"null"),
    Case("10 MB", 413, "body_too_large", raw=b'{"model": "' + b"x" * 10_000_000 + b'"}'),
    refused("an unknown prompt", managed(model="prompt:elsewhere"), "unknown_prompt", 404),
    refused("an unknown version", managed(model="prompt:help@7.7.7"), "unknown_prompt", 404),
    refused("no name", managed(model="prompt:")),
    refused("no name but a version", managed(model="prompt:@1.0.0")),
    refused("no model", raw_call(model=None)),
    refused("a number for a model", raw_call(model=4)),
    refused("an endless model", raw_call(model="x" * 5000)),
    refused("a model that breaks a header", raw_call(model="gpt-4.1\r\nset-cookie: a=b")),
    refused("a missing variable", managed(variables={}), "missing_variable"),
    refused("no variables", managed(variables=None), "missing_variable"),
    refused("an unknown variable", managed(variables={"question": "x", "unknown": SECRET})),
    refused("what retrieval fills", managed(variables={"question": "x", "context": SECRET})),
    refused("an oversized variable", managed(variables={"question": SECRET * 10})),
    refused("an object for a variable", managed(variables={"question": {"a": SECRET}})),
    refused("null for a variable", managed(variables={"question": None})),
    refused(
        "an endless number",
        None,
        "malformed_body",
        raw=b'{"model":"prompt:help","variables":{"question":1' + b"0" * 5000 + b"}}",
    ),
    refused("variables as a list", managed(variables=[SECRET])),
    refused("variables without a prompt", raw_call(variables={"question": SECRET})),
    refused("no messages", raw_call(messages=None)),
    refused("empty messages", raw_call(messages=[])),
    refused("messages as a string", raw_call(messages=SECRET)),
    refused("a message as a string", raw_call(messages=[SECRET])),
    refused("a message without a role", raw_call(messages=[{"content": SECRET}])),
    refused("n = 2", managed(n=2)),
    refused("n = true", managed(n=True)),
    refused("n as a list", managed(n=[])),
    refused("logprobs", raw_call(logprobs=True)),
    refused("temperature as text", managed(temperature="0")),
    refused("temperature as a flag", managed(temperature=True)),
    refused("top_p as a list", managed(top_p=[1])),
    refused("stream as text", managed(stream="yes")),
    refused("stream as a list", managed(stream=[])),
    refused("stream_options as a list", managed(stream=True, stream_options=[1])),
    refused("user as a number", managed(user=7)),
    refused("an endless user", managed(user="u" * 201)),
    refused("options as a list", managed(promptyard=[1])),
    refused("an unknown option", managed(promptyard={"personnal": True})),
    refused("an unknown cache mode", managed(promptyard={"cache": "always"})),
    refused("a cache mode as a list", managed(promptyard={"cache": ["bypass"]})),
    refused("personal as text", managed(promptyard={"personal": "yes"})),
    refused("another's origin", managed(promptyard={"origin": "gate"})),
    refused("an origin as a list", managed(promptyard={"origin": ["gate"]})),
    Case("an unknown endpoint", 404, "not_found", path="/v1/completions", body=managed()),
    Case("a wrong method", 405, "method_not_allowed", method="GET"),
    Case("a wrong method for documents", 405, "method_not_allowed", path=DOCUMENT, body={}),
    Case("a document that is not JSON", 400, "malformed_body", "PUT", DOCUMENT, raw=SECRET.encode()),
    Case("attributes in attributes", 400, "malformed_body", "PUT", DOCUMENT, {"text": "a", "attributes": nested(700)}),
    Case("a document without text", 400, "invalid_request", "PUT", DOCUMENT, {"title": SECRET}),
    Case("a document of blanks", 400, "invalid_request", "PUT", DOCUMENT, {"text": "  "}),
    Case("a document with a number", 400, "invalid_request", "PUT", DOCUMENT, {"text": 5}),
    Case("a document with a field too many", 400, "invalid_request", "PUT", DOCUMENT, {"text": "a", "txet": SECRET}),
    Case("a document as a list", 400, "malformed_body", "PUT", DOCUMENT, [SECRET]),
    Case("a document of 10 MB", 413, "body_too_large", "PUT", DOCUMENT, {"text": "x" * 10_000_000}),
    Case("a document's id", 400, "invalid_request", "PUT", "/v1/documents/help/a b", {"text": "a"}),
    Case("a collection's name", 400, "invalid_request", "PUT", "/v1/documents/he%7Blp/a", {"text": "a"}),
    Case("no such document", 404, "unknown_document", "GET", "/v1/documents/help/none"),
    Case("nothing to delete", 404, "unknown_document", "DELETE", "/v1/documents/help/none"),
    Case("feedback that is not JSON", 400, "malformed_body", path=FEEDBACK, raw=SECRET.encode()),
    Case("feedback of 10 MB", 413, "body_too_large", path=FEEDBACK, raw=b'"' + b"x" * 10_000_000 + b'"'),
    refused("feedback on nothing", {"value": 1}, path=FEEDBACK),
    refused("feedback on no call", {"call_id": "1", "value": 1}, path=FEEDBACK),
    refused("feedback above 1", {"call_id": CALL_ID, "value": 1.01}, path=FEEDBACK),
    refused("feedback below 0", {"call_id": CALL_ID, "value": -1}, path=FEEDBACK),
    refused("feedback as text", {"call_id": CALL_ID, "value": SECRET}, path=FEEDBACK),
    refused("an odd metric", {"call_id": CALL_ID, "value": 1, "metric": SECRET}, path=FEEDBACK),
    Case("a prompt that is not there", 404, "unknown_prompt", "GET", "/v1/prompts/elsewhere"),
]


def send(http: httpx.Client, case: Case) -> httpx.Response:
    content = case.raw if case.raw is not None else json.dumps(case.body) if case.body is not None else None
    headers = {"content-type": "application/json"} | case.headers
    return http.request(case.method, case.path, content=content, headers=headers)


def check_error(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    error: dict[str, Any] = response.json()["error"]
    assert {"code", "message", "hint", "call_id", "retryable"} <= set(error)
    assert error["code"] == code
    assert error["message"]
    assert error["hint"]
    assert error["retryable"] is (status in (429, 503))
    assert len(response.content) < 2000
    return error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_clear_error_and_nothing_changes(one_shop: Shop, case: Case, caplog: pytest.LogCaptureFixture) -> None:
    stack = one_shop.stack
    before, asked = stack.contents(), stack.simulator.calls()
    with caplog.at_level(logging.DEBUG):
        response = send(one_shop.http, case)
    error = check_error(response, case.status, case.code)
    if case.path == CHAT and case.status != 405:
        assert error["call_id"] == response.headers["x-promptyard-call-id"]
        assert error["call_id"].startswith("call_")
    assert stack.simulator.calls() == asked
    assert stack.contents() == before
    assert not any("unexpected" in record.message for record in caplog.records)
    told = response.text + caplog.text
    for secret in (SECRET, one_shop.key, PROVIDER_KEY):
        assert secret not in told


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer py_wrong", "Bearer " + "py_" + "x" * 10_000, "Basic cHk6cHk=", "py_wrong"],
    ids=["none", "empty", "wrong", "endless", "basic", "bare"],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", CHAT), ("PUT", DOCUMENT), ("POST", FEEDBACK), ("GET", "/v1/prompts/help")]
)
def test_who_has_no_key_learns_nothing_else(one_shop: Shop, method: str, path: str, authorization: str) -> None:
    headers = {"authorization": authorization} if authorization else {}
    with one_shop.stack.http() as http:  # the body is wrong, too: that is nobody's business who has no key
        response = http.request(method, path, content=b"not JSON", headers=headers)
    error = check_error(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    assert authorization.removeprefix("Bearer ").strip()[:100] not in error["message"] or not authorization.strip()


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("feedback", "POST", CHAT),
        ("documents:read", "PUT", DOCUMENT),
        ("documents:read", "DELETE", DOCUMENT),
        ("documents:write", "GET", DOCUMENT),
        ("documents:write", "GET", "/v1/documents/help"),
        ("chat", "POST", FEEDBACK),
        ("chat", "GET", "/v1/prompts/help"),
    ],
)
def test_a_key_without_the_scope_may_not(one_shop: Shop, scope: str, method: str, path: str) -> None:
    with one_shop.stack.http(one_shop.stack.key(one_shop.tenant, [scope])) as http:
        check_error(http.request(method, path, json={"text": "x"}), 403, "forbidden")


def test_a_revoked_key_is_refused_within_its_time(one_shop: Shop) -> None:
    stack, tenant = one_shop.stack, unique("tenant")
    with stack.http(stack.key(tenant)) as http:
        assert http.get("/v1/documents/help").status_code == 200
        [row] = list_keys(stack.engine, tenant)
        revoke_key(stack.engine, stack.clock, row.id)
        until("401", lambda: http.get("/v1/documents/help").status_code == 401, within=stack.settings.key_cache_ttl + 2)


def test_another_tenants_prompt_is_unknown(one_shop: Shop) -> None:
    with one_shop.stack.http(one_shop.stack.key(unique("tenant"))) as http:
        mine = check_error(http.post(CHAT, json=managed()), 404, "unknown_prompt")
        nobodys = check_error(http.post(CHAT, json=managed(model="prompt:help2")), 404, "unknown_prompt")
        check_error(http.get("/v1/prompts/help"), 404, "unknown_prompt")
    assert mine["message"].replace("help", "") == nobodys["message"].replace("help2", "")


def test_feedback_on_another_tenants_call_counts_for_nothing(stack: Stack, shop: Shop) -> None:
    call_id = shop.ask().json()["id"]
    with stack.http(stack.key(unique("tenant"))) as http:
        assert http.post(FEEDBACK, json={"call_id": call_id, "value": 0}).status_code == 202
    shop.http.post(FEEDBACK, json={"call_id": call_id, "value": 1, "comment": "thanks"}).raise_for_status()
    [row] = stack.calls(shop.tenant)
    mine = and_(ScoreRow.call_id == row.id, ScoreRow.tenant == row.tenant)
    with reading(stack.engine) as session:
        assert [(score.metric, score.value) for score in session.scalars(select(ScoreRow).where(mine))] == [
            ("helpful", 1.0)
        ]


def test_a_wrong_method_names_the_right_one(one_shop: Shop) -> None:
    assert one_shop.http.get(CHAT).headers["allow"] == "POST"


def test_null_is_the_same_as_nothing(shop: Shop) -> None:
    """SDKs of some languages send every field: null must not switch off the prompt's own temperature or the cache."""
    shop.answer()
    assert shop.answer(temperature=None, max_tokens=None, messages=None, user=None, n=None, tools=None)[1] == "exact"
