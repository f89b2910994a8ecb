"""On a real server with a real worker: schedules fire, and the outbox's event starts the flow of the document trigger.

The trigger is the one of deployments/prefect.yaml; only the flow that it starts is a lighter one.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.clock import SystemClock
from gateway.ledger.outbox import Outbox
from gateway.storage.engine import make_engine, reading, writing
from gateway.storage.models import OutboxRow
from tests.integration.prefect_processes import ROOT, PrefectYard, prefect_yard, until

pytestmark = pytest.mark.integration

POOL = "tiny"


def definition() -> dict[str, Any]:
    """Our timetable with two deployments: one on a short interval, one with the trigger of 'documents'."""
    ours = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    documents = next(one for one in ours["deployments"] if one["name"] == "documents")
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
        ],
    }


def announce(database: str, api: str) -> OutboxRow:
    """A changed document as the gateway leaves it in the outbox, delivered as the ledger-writer does."""
    engine = make_engine(database)
    with writing(engine) as session:
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

    async def deliver() -> None:
        outbox = Outbox(engine, SystemClock(), api, random.Random(1), timeout=30.0)
        try:
            assert await outbox.deliver() == 1
        finally:
            await outbox.aclose()

    asyncio.run(deliver())
    with reading(engine) as session:
        sent = session.get_one(OutboxRow, "out_1")
    engine.dispose()
    return sent


def started_by(yard: PrefectYard, deployment: str) -> set[str]:
    return {(run["created_by"] or {}).get("type", "") for run in yard.runs(deployment)}


def test_a_schedule_fires_and_an_event_starts_its_flow(tmp_path: Path, sqlite_url: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump(definition()), encoding="utf-8")
    with prefect_yard(tmp_path) as yard, yard.worker(POOL):
        yard.prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(file))
        assert announce(sqlite_url, yard.api).sent_at is not None
        logs = lambda: yard.log("server") + yard.log("worker")  # noqa: E731
        until(lambda: yard.runs("tiny-documents"), logs)
        until(lambda: yard.runs("tiny-sweep"), logs)
        assert started_by(yard, "tiny-documents") == {"AUTOMATION"}
        assert yard.runs("tiny-documents")[0]["parameters"]["request"]["document_id"] == "warranty"
        assert started_by(yard, "tiny-sweep") == {"SCHEDULE"}
