"""On a real server with a real worker: schedules fire, the outbox's events start flows, and a job of the API completes.

The triggers are those of deployments/prefect.yaml; only the flow of the document trigger is a lighter one.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from gateway.clock import SystemClock
from gateway.ledger.outbox import Outbox
from gateway.storage.engine import reading, writing
from gateway.storage.models import OutboxRow
from tests.gateway_process import environment
from tests.gateway_stack import Stack, gateway_stack, unique
from tests.integration.prefect_processes import ROOT, PrefectYard, prefect_yard, until

pytestmark = pytest.mark.integration

POOL = "tiny"


@dataclass(frozen=True)
class Place:
    """A gateway with what it needs, and a Prefect server with a worker."""

    stack: Stack
    yard: PrefectYard

    def logs(self) -> str:
        return self.yard.log("server") + self.yard.log("worker")

    def deliver(self) -> None:
        """What is in the outbox, as the ledger-writer does."""

        async def all_of_it() -> None:
            outbox = Outbox(self.stack.engine, SystemClock(), self.yard.api, random.Random(1), timeout=30.0)
            try:
                assert await outbox.deliver() == 1
            finally:
                await outbox.aclose()

        asyncio.run(all_of_it())

    def started_by(self, deployment: str) -> set[str]:
        return {(run["created_by"] or {}).get("type", "") for run in self.yard.runs(deployment)}


def definition(gateways: Mapping[str, str]) -> dict[str, Any]:
    """Our timetable with three deployments: a short interval, the trigger of 'documents', and 'run-jobs' without sweep.

    ``gateways``: the environment in which jobs run.
    """
    ours = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    named = {one["name"]: one for one in ours["deployments"]}
    documents, jobs = named["documents"], named["run-jobs"]
    pool = {**documents["work_pool"], "name": POOL}
    flows = "tests.integration.prefect_flows"
    return {
        **{name: ours[name] for name in ("name", "prefect-version", "build", "push", "pull")},
        "deployments": [
            {
                "name": "tiny-sweep",
                "entrypoint": f"{flows}.tiny_sweep",
                "work_pool": pool,
                "schedules": [{**documents["schedules"][0], "interval": 15}],
            },
            {
                "name": "tiny-documents",
                "entrypoint": f"{flows}.tiny_documents",
                "work_pool": pool,
                "triggers": documents["triggers"],
            },
            {
                "name": jobs["name"],
                "entrypoint": jobs["entrypoint"],
                "work_pool": {**pool, "job_variables": {"env": dict(gateways)}},
                "triggers": jobs["triggers"],
            },
        ],
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("prefect")
    file = home / "prefect.yaml"
    with (
        gateway_stack(tmp_path_factory.mktemp("gateway")) as stack,
        prefect_yard(home) as yard,
        yard.worker(POOL),
    ):
        content = definition(environment(stack.settings, 0))
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        yard.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
        yield Place(stack, yard)


def announce(place: Place) -> OutboxRow:
    """A changed document as the gateway leaves it in the outbox."""
    with writing(place.stack.engine) as session:
        row = OutboxRow(
            id="out_1",
            event="promptyard.document.updated",
            resource="promptyard.document.acme.help-centre.warranty",
            payload={"tenant": "acme", "collection": "help-centre", "document_id": "warranty", "version": 2},
            created_at=SystemClock().now(),
            attempts=0,
            next_attempt_at=0.0,
        )
        session.add(row)
    place.deliver()
    with reading(place.stack.engine) as session:
        return session.get_one(OutboxRow, "out_1")


def test_a_job_completes_after_it_was_posted(place: Place) -> None:
    key = place.stack.key(unique("tenant"))
    message = {"messages": [{"role": "user", "content": "What is two and two?"}]}
    body = {"kind": "completion", "model": "gpt-4.1-mini", "items": [message], "params": {"temperature": 0}}
    with place.stack.http(key) as http:
        where = http.post("/v1/jobs", json=body).raise_for_status().headers["location"]
        place.deliver()
        until(lambda: http.get(where).json()["state"] in ("succeeded", "failed"), place.logs)
        job = http.get(where).json()
        (item,) = http.get(f"{where}/items").json()["items"]
    assert (job["state"], job["counts"]["done"]) == ("succeeded", 1)
    assert item["output"]["choices"][0]["message"]["content"]
    until(lambda: place.yard.runs("run-jobs"), place.logs)
    assert place.yard.runs("run-jobs")[0]["id"] == job["flow_run"]
    assert place.started_by("run-jobs") == {"AUTOMATION"}


def test_a_schedule_fires_and_an_event_starts_its_flow(place: Place) -> None:
    assert announce(place).sent_at is not None
    until(lambda: place.yard.runs("tiny-documents"), place.logs)
    until(lambda: place.yard.runs("tiny-sweep"), place.logs)
    assert place.started_by("tiny-documents") == {"AUTOMATION"}
    assert place.yard.runs("tiny-documents")[0]["parameters"]["request"]["document_id"] == "warranty"
    assert place.started_by("tiny-sweep") == {"SCHEDULE"}
