"""An Idempotency-Key from end to end: one answer, one ledger row, one charge, streamed or whole."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import unique

WARM = {"temperature": 0.9}
"""Above temperature 0, so that no cache answers."""


def send(shop: Shop, key: str, **more: Any) -> httpx.Response:
    body = {"model": f"prompt:{shop.prompt}", "variables": {"question": "When do parcels arrive?"}, **WARM, **more}
    return shop.http.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": key})


def test_a_replay_is_the_same_answer_one_row_and_one_charge(shop: Shop) -> None:
    before = shop.stack.simulator.calls()
    first, again = send(shop, "k"), send(shop, "k")
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert "x-promptyard-replay" not in first.headers
    assert again.headers["x-promptyard-replay"] == "true"
    assert again.headers["x-promptyard-call-id"] == first.json()["id"]
    assert shop.stack.simulator.calls() == before + 1
    assert len(shop.stack.calls(shop.tenant)) == 1


def test_a_replay_of_a_stream_is_a_stream(shop: Shop) -> None:
    first, again = send(shop, "k", stream=True), send(shop, "k", stream=True)
    for response in (first, again):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.text.endswith("data: [DONE]\n\n")
    assert first.text.rsplit("data: ", 2)[1] == again.text.rsplit("data: ", 2)[1]  # the chunk that explains
    assert len(shop.stack.calls(shop.tenant)) == 1


@pytest.mark.parametrize("change", [{"user": "ann"}, {"stream": True}, {"variables": {"question": "Why?"}}])
def test_the_same_key_with_another_body_is_refused(shop: Shop, change: dict[str, Any]) -> None:
    assert send(shop, "k").status_code == 200
    refused = send(shop, "k", **change)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")
    assert len(shop.stack.calls(shop.tenant)) == 1


def test_another_tenant_has_keys_of_its_own(shop: Shop) -> None:
    other = open_shop(shop.stack, unique("tenant"), shop.prompt)
    mine, theirs = send(shop, "k").json(), send(other, "k").json()
    assert mine["id"] != theirs["id"]


def test_of_many_at_once_one_works(shop: Shop) -> None:
    before = shop.stack.simulator.calls()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(shop, "k"), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert shop.stack.simulator.calls() == before + 1
    assert len(shop.stack.calls(shop.tenant)) == 1


def test_a_call_that_failed_may_be_made_anew(shop: Shop) -> None:
    with shop.stack.simulator.faults({"error_rate": 1.0}):
        assert send(shop, "k").status_code >= 500
    assert send(shop, "k").status_code == 200
    assert [call.status for call in shop.stack.calls(shop.tenant)] == ["failed", "ok"]


@pytest.mark.parametrize("key", ["x" * 201, "a\tb", "schl\u00fcssel"])
def test_a_key_that_is_none_is_refused(shop: Shop, key: str) -> None:
    body = {"model": f"prompt:{shop.prompt}", "variables": {"question": "Why?"}}
    headers = {"Idempotency-Key": key.encode("latin-1")}
    response = shop.http.post("/v1/chat/completions", json=body, headers=headers)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


def test_a_job_is_accepted_once(shop: Shop) -> None:
    body = {"kind": "completion", "prompt": shop.prompt, "items": [{"variables": {"question": "Why?"}}]}
    first, again = (
        shop.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "j"}).raise_for_status() for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    assert again.headers["x-promptyard-replay"] == "true"
    assert len(shop.http.get("/v1/jobs").json()["jobs"]) == 1


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/embed"])
def test_embeddings_are_charged_once(shop: Shop, path: str) -> None:
    body = {"input": ["a", "b"], "model": "text-embedding-3-small"} if path == "/v1/embeddings" else {"texts": ["a"]}
    first, again = (
        shop.http.post(path, json=body, headers={"Idempotency-Key": path}).raise_for_status() for _ in range(2)
    )
    assert first.content == again.content
    assert again.headers["x-promptyard-replay"] == "true"
    assert len(shop.stack.calls(shop.tenant)) == 1
