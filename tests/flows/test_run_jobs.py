"""The flow that drains jobs, on a Prefect server: what waits is done, shown, and cancelled along with its run."""

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.run_jobs import JobsRequest, run_jobs
from gateway.auth.keys import create_key
from gateway.clock import SystemClock, new_id
from gateway.jobs import running, store
from gateway.jobs.rules import JobKind
from gateway.jobs.store import NewJob
from gateway.storage.models import JobRow
from tests.flows.conftest import World

pytestmark = pytest.mark.integration

CLOCK = SystemClock()


def accept(world: World, kind: JobKind, request: dict[str, Any], *items: dict[str, Any]) -> str:
    key = create_key(world.engine, CLOCK, "acme", "bulk", ["jobs"])[1].id
    new = NewJob(id=new_id("job", CLOCK), tenant="acme", key_id=key, kind=kind, request=request, items=items)
    return store.accept(world.engine, CLOCK, new, most_open=9).id


def completions(world: World, *texts: str) -> str:
    request = {"prompt": "", "model": "gpt-4.1-mini", "params": {"temperature": 0}, "promptyard": {}}
    items = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    return accept(world, JobKind.COMPLETION, request, *items)


def job(world: World, id: str) -> JobRow:
    return store.get(world.engine, "acme", id)


def artifacts(kind: str, key: str) -> list[Any]:
    with get_client(sync_client=True) as prefect:
        found = prefect.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    return [one.data for one in found if one.type == kind]


def test_what_waits_is_done_turn_by_turn_and_shown(world: World) -> None:
    bulk = completions(world, "What is two and two?", "What is three and three?")
    document = {"id": "new", "title": "New", "text": "Brand new.", "attributes": {}}
    imported = accept(world, JobKind.IMPORT, {"collection": "fresh", "folder": ""}, document)
    reports = run_jobs(JobsRequest(job_id=bulk, tenant="acme", kind="completion"))
    assert {one.id: (one.state, one.done) for one in reports} == {
        bulk: ("succeeded", 2),
        imported: ("succeeded", 1),
    }
    assert all(row.flow_run and row.finished_at for row in (job(world, bulk), job(world, imported)))
    assert artifacts("progress", bulk.replace("_", "-")) == [100.0]
    assert run_jobs() == []


def test_a_run_ends_in_time_and_the_next_one_goes_on(world: World) -> None:
    first, second = completions(world, "One?"), completions(world, "Two?")
    assert [one.id for one in run_jobs(JobsRequest(seconds=1e-9))] == []
    assert {job(world, id).state for id in (first, second)} == {"queued"}
    assert {one.id for one in run_jobs()} == {first, second}


def test_cancelling_the_run_in_prefect_cancels_its_job(world: World) -> None:
    mine, other = completions(world, "One?"), completions(world, "Two?")
    running.claim(world.engine, CLOCK, "owner", 60, flow_run="the run")
    (hook,) = run_jobs.on_cancellation_hooks
    hook(run_jobs, SimpleNamespace(id="the run"), SimpleNamespace())
    assert (job(world, mine).state, job(world, other).state) == ("cancelled", "queued")
    run_jobs()
    assert job(world, other).state == "succeeded"
