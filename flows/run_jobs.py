"""Woken by ``promptyard.job.created``, and swept: drain the jobs that wait, whichever the event was about."""

from typing import Any

from prefect import flow, runtime
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict, Field

from blocks.workspace import load_workspace
from gateway.clock import SystemClock, new_id
from tasks.artifacts import Progress, artifact_key, table
from tasks.jobs import JobReport, cancel_jobs_of, forget_old, work_on_next


class JobsRequest(BaseModel):
    """The event's payload, which only wakes the run and is shown on its page; and the bounds of a run."""

    model_config = ConfigDict(extra="ignore")

    job_id: str = ""
    tenant: str = ""
    kind: str = ""
    in_flight: int = Field(8, ge=1, le=64, description="Items at a time.")
    turn: float = Field(20.0, gt=0, le=600, description="Seconds until the next job has its turn.")
    seconds: float = Field(3600.0, gt=0, description="A run ends after so many: what is left is the next run's.")


def cancel_along(flow: Any, flow_run: Any, state: Any) -> None:
    """Who cancels the run in Prefect means the job that it works on."""
    cancel_jobs_of(load_workspace().settings, SystemClock(), str(flow_run.id))


@flow(name="run_jobs", persist_result=False, on_cancellation=[cancel_along])
def run_jobs(request: JobsRequest | None = None) -> list[JobReport]:
    """Jobs take turns until none waits. Several runs at once never work on the same job; any of them may be killed."""
    request = request or JobsRequest()
    settings, clock = load_workspace().settings, SystemClock()
    run_id = str(runtime.flow_run.id or "")
    owner = f"{run_id}/{new_id('run', clock)}"
    forget_old(settings, clock)
    reports: dict[str, JobReport] = {}
    bars = Progress()
    ends = clock.monotonic() + request.seconds
    while clock.monotonic() < ends:
        report = work_on_next(
            settings, clock, owner, flow_run=run_id, in_flight=request.in_flight, seconds=request.turn
        )
        if report is None:
            break
        reports[report.id] = report
        bars.show(artifact_key(report.id), report.progress, _sentence(report))
        get_run_logger().info("%s: %s", report.id, _sentence(report))
    if reports:
        table("jobs", [_row(one) for one in reports.values()], f"{len(reports)} jobs worked on")
    return list(reports.values())


def _sentence(report: JobReport) -> str:
    what = f"{report.kind} for {report.tenant}"
    failed = f", {report.failed} of them failed" if report.failed else ""
    why = f" ({report.error})" if report.error else ""
    return f"{what}: {report.state}, {report.done + report.failed} of {report.total} items{failed}{why}"


def _row(report: JobReport) -> dict[str, object]:
    return {
        "job": report.id,
        "tenant": report.tenant,
        "kind": report.kind,
        "state": "another run's" if report.lost else report.state,
        "items": report.total,
        "done": report.done,
        "failed": report.failed,
        "cost (USD)": report.cost_usd,
        "error": report.error,
    }
