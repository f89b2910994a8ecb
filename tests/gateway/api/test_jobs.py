"""Jobs over HTTP: accepted whole or not at all, for their tenant alone. What runs them is tested with the tasks."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.jobs import running
from gateway.jobs.rules import ItemState
from gateway.jobs.running import Outcome
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, unique

pytestmark = pytest.mark.integration


@pytest.fixture
def other(stack: Stack) -> Iterator[Shop]:
    opened = open_shop(stack, unique("tenant"), unique("help"))
    yield opened
    opened.openai.close()
    opened.http.close()


def questions(*texts: str) -> list[dict[str, Any]]:
    return [{"variables": {"question": text}} for text in texts or ("When?", "Where?")]


def completion(shop: Shop, **changes: Any) -> dict[str, Any]:
    return {"kind": "completion", "prompt": shop.prompt, "items": questions(), **changes}


def documents(shop: Shop, **changes: Any) -> dict[str, Any]:
    document = {"id": "returns", "title": "Returns", "text": "Within 45 days."}
    return {"kind": "import", "collection": shop.prompt, "documents": [document], **changes}


def post(shop: Shop, body: Any) -> httpx.Response:
    return shop.http.post("/v1/jobs", json=body)


def make(shop: Shop, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = post(shop, completion(shop, **changes)).raise_for_status().json()
    return found


def test_a_job_is_accepted_and_can_be_polled(shop: Shop) -> None:
    response = post(shop, completion(shop))
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["state"] == "queued"
    assert job["counts"] == {"total": 2, "done": 0, "failed": 0, "waiting": 2}
    assert (job["prompt"], job["model"], job["cost_usd"], job["error"]) == (shop.prompt, None, 0.0, None)
    assert shop.http.get(response.headers["location"]).json() == job
    page = shop.http.get(f"/v1/jobs/{job['id']}/items").json()
    assert [(item["seq"], item["state"], item["output"]) for item in page["items"]] == [
        (0, "waiting", None),
        (1, "waiting", None),
    ]
    assert page["next"] is None


@pytest.mark.parametrize("body", ["a model", "a pinned version", "an import"])
def test_other_kinds_are_accepted(shop: Shop, body: str) -> None:
    bodies = {
        "a model": {
            "kind": "completion",
            "model": "gpt-4.1-mini",
            "items": [{"messages": [{"role": "user", "content": "hi"}], "user": "u"}],
            "params": {"temperature": 0},
        },
        "a pinned version": completion(shop, prompt=f"{shop.prompt}@1.0.0"),
        "an import": documents(shop),
    }
    assert post(shop, bodies[body]).status_code == 202


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no kind", {"kind": None}, "kind"),
    ("another kind", {"kind": "dance"}, "kind"),
    ("no items", {"items": []}, "items"),
    ("a field that nobody knows", {"colour": "red"}, "colour"),
    ("a prompt and a model", {"model": "gpt-4.1-mini"}, "either 'prompt' or 'model'"),
    ("neither", {"prompt": ""}, "either 'prompt' or 'model'"),
    ("a variable is missing", {"items": [*questions("a"), {"variables": {}}]}, "items.1: "),
    ("a variable too many", {"items": [{"variables": {"question": "a", "other": "b"}}]}, "items.0: "),
    ("a variable too long", {"items": questions("x" * 201)}, "items.0: "),
    ("a message without a role", {"items": [{"messages": [{"content": "x"}]}]}, "items.0: messages[0]"),
    ("a NUL", {"items": questions("a", "\0")}, "items.1: it holds a NUL"),
    ("a NUL in what is shared", {"params": {"stop": "\0"}}, "NUL"),
    ("streams", {"params": {"stream": True}}, "params.stream"),
    ("an origin", {"promptyard": {"origin": "live"}}, "origin"),
    ("an option that nobody knows", {"promptyard": {"cash": "bypass"}}, "items.0: "),
    ("several answers", {"params": {"n": 2}}, "'n'"),
]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_wrong_is_refused_with_its_place(shop: Shop, change: dict[str, Any], says: str) -> None:
    response = post(shop, completion(shop) | change)
    assert response.status_code == 400, response.text
    assert says in response.json()["error"]["message"]
    assert shop.http.get("/v1/jobs").json() == {"jobs": [], "next": None}


BAD_IMPORTS: list[tuple[str, dict[str, Any], str]] = [
    ("no documents", {"documents": []}, "either 'documents' or 'folder'"),
    ("twice the same", {"documents": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]}, "documents.1: "),
    ("no name", {"documents": [{"id": "../a", "text": "x"}]}, "documents.0: "),
    ("no text", {"documents": [{"id": "a", "text": " "}]}, "documents.0: the text is empty"),
    ("a NUL", {"documents": [{"id": "a", "text": "x\0"}]}, "documents.0: "),
    ("no collection", {"collection": "a/b"}, "collection"),
    ("a folder where none may be read", {"documents": [], "folder": "manuals"}, "switched off"),
]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in BAD_IMPORTS], ids=[row[0] for row in BAD_IMPORTS])
def test_imports_that_are_wrong_are_refused(shop: Shop, change: dict[str, Any], says: str) -> None:
    response = post(shop, documents(shop) | change)
    assert response.status_code == 400, response.text
    assert says in response.json()["error"]["message"]


def test_an_unknown_prompt_is_said_at_once(shop: Shop) -> None:
    for prompt in ("nothing-of-the-kind", f"{shop.prompt}@9.9.9"):
        response = post(shop, completion(shop, prompt=prompt))
        assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_prompt")


def test_items_and_bytes_are_bounded(shop: Shop) -> None:
    response = post(shop, completion(shop, items=[{"variables": {"question": "?"}}] * 10_001))
    assert (response.status_code, "10000 are allowed" in response.text) == (400, True)
    large = json.dumps(completion(shop, items=questions("x" * 1_000_000)))
    assert shop.http.post("/v1/jobs", content=large).status_code == 413


def test_open_jobs_are_bounded(shop: Shop) -> None:
    most = shop.stack.settings.job_max_open
    made = [make(shop)["id"] for _ in range(most)]
    response = post(shop, completion(shop))
    assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many_jobs")
    assert int(response.headers["retry-after"]) > 0
    shop.http.delete(f"/v1/jobs/{made[0]}").raise_for_status()
    assert post(shop, completion(shop)).status_code == 202


@pytest.mark.parametrize(
    ("scopes", "completions", "imports", "reading"),
    [
        (["chat", "documents:write"], 403, 403, 403),
        (["jobs"], 403, 403, 200),
        (["jobs", "chat"], 202, 403, 200),
        (["jobs", "documents:write"], 403, 202, 200),
        (["admin"], 202, 202, 200),
    ],
)
def test_a_job_needs_the_scope_of_what_it_does(
    shop: Shop, scopes: list[str], completions: int, imports: int, reading: int
) -> None:
    with shop.stack.http(shop.stack.key(shop.tenant, scopes)) as http:
        assert http.post("/v1/jobs", json=completion(shop)).status_code == completions
        assert http.post("/v1/jobs", json=documents(shop)).status_code == imports
        assert http.get("/v1/jobs").status_code == reading


def test_jobs_are_listed_by_pages(shop: Shop) -> None:
    made = [make(shop)["id"] for _ in range(3)]
    first = shop.http.get("/v1/jobs", params={"limit": 2}).json()
    rest = shop.http.get("/v1/jobs", params={"limit": 2, "after": first["next"]}).json()
    assert sorted(job["id"] for job in first["jobs"] + rest["jobs"]) == sorted(made)
    assert rest["next"] is None


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"after": "x"}, {"after": "\0"}])
def test_pages_are_bounded(shop: Shop, query: dict[str, Any]) -> None:
    assert shop.http.get("/v1/jobs", params=query).status_code == 400


@pytest.mark.parametrize("query", [{"limit": 501}, {"after": -2}, {"after": 10**30}, {"after": "x"}])
def test_pages_of_items_are_bounded(shop: Shop, query: dict[str, Any]) -> None:
    assert shop.http.get(f"/v1/jobs/{make(shop)['id']}/items", params=query).status_code == 400


def test_cancelling_is_the_same_once_and_twice(shop: Shop) -> None:
    for method, path in (("DELETE", ""), ("POST", "/cancel")):
        job = make(shop)["id"]
        for _ in range(2):
            answer = shop.http.request(method, f"/v1/jobs/{job}{path}")
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert shop.http.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"


def test_results_come_in_order_with_errors_in_their_place(shop: Shop) -> None:
    job, stack = make(shop, items=questions("a", "b", "c")), shop.stack
    row = running.claim(stack.engine, stack.clock, "run", 60, flow_run="flow", most_runs=99)
    while row is not None and row.id != job["id"]:  # the queue is everybody's
        row = running.claim(stack.engine, stack.clock, "run", 60, most_runs=99)
    items = running.waiting_items(stack.engine, job["id"], 9)
    done = Outcome(state=ItemState.DONE, call_id="call_1", output={"choices": []})
    failed = Outcome(state=ItemState.FAILED, call_id="call_2", error="provider_error", message="no")
    for item, outcome in ((items[2], done), (items[0], failed)):
        running.finish_item(stack.engine, item, "run", outcome)
    now = shop.http.get(f"/v1/jobs/{job['id']}").json()
    assert (now["state"], now["counts"]["done"], now["counts"]["failed"]) == ("running", 1, 1)
    assert now["progress"] == pytest.approx(2 / 3)
    first = shop.http.get(f"/v1/jobs/{job['id']}/items", params={"limit": 2}).json()
    assert [item["state"] for item in first["items"]] == ["failed", "waiting"]
    assert first["items"][0]["error"] == {"code": "provider_error", "message": "no"}
    rest = shop.http.get(f"/v1/jobs/{job['id']}/items", params={"after": first["next"]}).json()
    assert [(item["seq"], item["output"]) for item in rest["items"]] == [(2, {"choices": []})]
    assert shop.http.delete(f"/v1/jobs/{job['id']}").json()["state"] == "cancelling"


def test_another_tenants_job_is_not_there(shop: Shop, other: Shop) -> None:
    job = make(shop)["id"]
    for method, path in (("GET", ""), ("GET", "/items"), ("DELETE", ""), ("POST", "/cancel")):
        answer = other.http.request(method, f"/v1/jobs/{job}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")
    assert other.http.get("/v1/jobs").json()["jobs"] == []
    assert other.http.get("/v1/jobs", params={"after": job}).json()["jobs"] == []
    assert shop.http.get(f"/v1/jobs/{job}").json()["state"] == "queued"


@pytest.mark.parametrize("name", ["x", "%00", "job_%00", "..%2F..", "job_" + "z" * 26])
def test_what_is_no_job_is_not_there(shop: Shop, name: str) -> None:
    assert shop.http.get(f"/v1/jobs/{name}").status_code == 404
