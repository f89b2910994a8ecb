"""Batches through the official SDKs, which read the answers by their own types."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai.types import Batch
from starlette.testclient import TestClient

from infra.simulator.app import build_app
from infra.simulator.faults import Latency
from infra.simulator.openai_batches import read_form
from infra.simulator.wire import Refusal


class Times:
    now = 1_800_000_000.0


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def http(times: Times) -> Iterator[TestClient]:
    app = build_app(7, latency=Latency(0, 0), unix_time=lambda: times.now)
    with TestClient(app, base_url="http://simulator") as client:
        yield client


@pytest.fixture
def fault(http: TestClient) -> Any:
    def put(**batch: Any) -> None:
        assert http.put("/admin/faults", json={"rules": [{"batch": batch}]}).status_code == 200

    return put


def chat(n: int) -> dict[str, Any]:
    return {
        "model": "gpt-4.1-mini",
        "messages": [{"role": "user", "content": f"Say 'né {n}'"}],
        "temperature": 0,
        "max_tokens": 20,
    }


def lines(count: int) -> bytes:
    rows = [
        {"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": chat(n)} for n in range(count)
    ]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def submit(client: openai.OpenAI, count: int) -> Batch:
    file = client.files.create(file=("batch.jsonl", lines(count)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"record": "r1"}
    )


def results(client: openai.OpenAI, batch: Batch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in (batch.output_file_id, batch.error_file_id):
        if file:
            rows = [json.loads(line) for line in client.files.content(file).text.splitlines()]
            found |= {row["custom_id"]: row for row in rows}
    return found


def test_openais_sdk_submits_polls_and_reads(openai_client: openai.OpenAI) -> None:
    batch = openai_client.batches.retrieve(submit(openai_client, 3).id)
    assert (batch.status, batch.metadata) == ("completed", {"record": "r1"})
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed) == (3, 3)
    found = results(openai_client, batch)
    texts = {key: row["response"]["body"]["choices"][0]["message"]["content"] for key, row in found.items()}
    assert texts == {f"c{n}": f"né {n}" for n in range(3)}
    assert next(iter(openai_client.batches.list(limit=1))).id == batch.id


def test_anthropics_sdk_submits_polls_and_reads(anthropic_client: anthropic.Anthropic) -> None:
    made = anthropic_client.messages.batches.create(
        requests=[{"custom_id": f"c{n}", "params": chat(n)} for n in range(3)]  # type: ignore[typeddict-item]
    )
    batch = anthropic_client.messages.batches.retrieve(made.id)
    assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 3)
    texts = {}
    for row in anthropic_client.messages.batches.results(made.id):
        assert row.result.type == "succeeded"
        assert row.result.message.content[0].type == "text"
        texts[row.custom_id] = row.result.message.content[0].text
    assert texts == {f"c{n}": f"né {n}" for n in range(3)}


def test_a_batch_takes_the_time_that_it_is_told_to_take(base_url: str, openai_client: openai.OpenAI) -> None:
    httpx.put(f"{base_url}/admin/faults", json={"rules": [{"batch": {"processing_ms": 60_000}}]}).raise_for_status()
    batch = submit(openai_client, 2)
    assert openai_client.batches.retrieve(batch.id).status == "in_progress"
    cancelled = openai_client.batches.cancel(batch.id)
    assert cancelled.status == "cancelled"
    assert {row["error"]["code"] for row in results(openai_client, cancelled).values()} == {"batch_cancelled"}


def by_wire(http: TestClient, count: int) -> str:
    """The id of an Anthropic batch."""
    body = {"requests": [{"custom_id": f"c{n}", "params": chat(n)} for n in range(count)]}
    return str(http.post("/v1/messages/batches", json=body, headers={"x-api-key": "any"}).json()["id"])


def outcomes(http: TestClient, identity: str) -> list[tuple[str, str]]:
    answer = http.get(f"/v1/messages/batches/{identity}/results", headers={"x-api-key": "any"})
    assert answer.status_code == 200, answer.text
    return [(row["custom_id"], row["result"]["type"]) for row in map(json.loads, answer.text.splitlines())]


@pytest.mark.parametrize(
    ("rule", "fates"),
    [
        ({}, {"succeeded"}),
        ({"failed": 1.0}, {"errored"}),
        ({"expired": 1.0}, {"expired"}),
        ({"missing": 1.0}, set()),
        ({"failed": 0.5, "expired": 0.5}, {"succeeded", "errored", "expired"}),
    ],
)
def test_items_may_fail_expire_or_be_missing(http: TestClient, fault: Any, rule: Any, fates: set[str]) -> None:
    fault(**rule)
    identity = by_wire(http, 40)
    found = outcomes(http, identity)
    assert {fate for _, fate in found} == fates
    assert found == outcomes(http, identity), "what became of a batch does not change"


def test_results_may_come_in_another_order(http: TestClient, fault: Any) -> None:
    fault(shuffled=True)
    ids = [custom_id for custom_id, _ in outcomes(http, by_wire(http, 20))]
    assert ids != sorted(ids, key=lambda name: int(name[1:]))
    assert len(set(ids)) == 20


def test_what_was_done_before_it_was_cancelled_stays_done(http: TestClient, fault: Any, times: Times) -> None:
    fault(processing_ms=100_000)
    identity = by_wire(http, 10)
    times.now += 40
    assert http.get(f"/v1/messages/batches/{identity}/results", headers={"x-api-key": "any"}).status_code == 404
    http.post(f"/v1/messages/batches/{identity}/cancel", headers={"x-api-key": "any"})
    fates = [fate for _, fate in outcomes(http, identity)]
    assert fates == ["succeeded"] * 4 + ["canceled"] * 6


@pytest.mark.parametrize(
    ("status", "post"),
    [
        (401, lambda http: http.post("/v1/batches", json={})),
        (404, lambda http: http.get("/v1/batches/none", headers={"authorization": "Bearer x"})),
        (400, lambda http: http.post("/v1/messages/batches", json={"requests": []}, headers={"x-api-key": "x"})),
        (400, lambda http: http.post("/v1/files", content=b"x", headers={"authorization": "Bearer x"})),
    ],
)
def test_refusals(http: TestClient, status: int, post: Any) -> None:
    assert post(http).status_code == status


def test_a_body_that_is_no_form_is_refused() -> None:
    with pytest.raises(Refusal):
        read_form("application/json", b"{}")


def test_only_the_items_and_the_batch_are_counted(http: TestClient) -> None:
    outcomes(http, by_wire(http, 3))
    rows = http.get("/admin/stats").json()["requests"]
    assert {(row["endpoint"], row["count"]) for row in rows} == {("batches", 1), ("batches.item", 3)}
