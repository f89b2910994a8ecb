"""Every minute: one idempotent step of each open release, then what verdicts owe and what is no longer warm.

Open experiments have their step in the same run: each run is a new Python, which takes seconds to import what it needs.
Never sleeps, holds no state, may be killed anywhere.
"""

import math
from dataclasses import dataclass

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks.workspace import load_workspace
from flows.advance_experiments import advance_experiments
from flows.warm_cache import WarmRequest, warm_cache
from gateway.clock import Clock, SystemClock
from gateway.settings import Settings
from gateway.storage.models import ReleaseRow
from tasks.alerts import alert
from tasks.artifacts import artifact_key, drawing, table
from tasks.certificates.pictures import picture, worth_drawing
from tasks.experimenting import experiments_wait
from tasks.mirroring import judge_mirrored
from tasks.releases.judged import judged_rows
from tasks.releases.mirror_view import mirror_rows
from tasks.releases.reconcile import StepReport
from tasks.releases.stages import Stage
from tasks.releasing import (
    Release,
    advance,
    file_certificates,
    follow_up,
    list_open,
    owner_name,
    repair_projections,
    seal,
    steps_of,
)
from tasks.warm_marks import Cause, due_warm_ups


@flow(name="advance_canaries", persist_result=False)
def advance_canaries() -> list[Release]:
    """Promote, hold or roll back by the evidence so far, then make every projection agree with the ledger.

    Experiments that are open, or of whose end nobody was told, follow in a run of their own within this one.
    """
    settings, clock = load_workspace().settings, SystemClock()
    try:
        return advance_all(settings, clock)
    finally:  # what holds up releases is no reason to hold up experiments
        if experiments_wait(settings, clock):
            advance_experiments()


def advance_all(settings: Settings, clock: Clock) -> list[Release]:
    """What a run does, within a flow; by the time of ``clock``.

    A release that cannot be looked at holds up no other, nor what follows, and fails the run in the end.
    """
    owner = owner_name(str(flow_run.id or ""))
    releases: list[Release] = []
    failed: list[Exception] = []
    for row in list_open(settings):
        try:
            releases += _advanced(settings, clock, row, owner)
        except Exception as error:
            get_run_logger().error("%s %s is not advanced: %s", row.prompt, row.version, type(error).__name__)
            failed.append(error)
    repair_projections(settings, clock)
    follow_up(settings, clock, owner, _Following(settings))
    seal(settings, clock)
    file_certificates(settings, clock)
    for due in due_warm_ups(settings):
        _warm(WarmRequest(tenant=due.tenant, prompt=due.prompt, version=due.version, cause=due.cause))
    if failed:
        raise failed[0]
    return releases


def _advanced(settings: Settings, clock: Clock, row: ReleaseRow, owner: str) -> list[Release]:
    """The release after its step; none while somebody else holds it."""
    if row.stage == Stage.MIRROR:
        _judge(settings, clock, row)
    report = advance(settings, clock, row.id, owner)
    if report is None:
        return []
    release = Release.of(report.release)
    get_run_logger().info("%s %s: %s %s", release.prompt, release.version, release.stage, report.note)
    if report.move is not None:
        _show(settings, release, report)
        if report.move.kind == "started":
            _warm(WarmRequest(tenant=row.tenant, prompt=row.prompt, version=row.version, cause=Cause.RAMP))
    return [release]


def _warm(request: WarmRequest) -> None:
    try:
        warm_cache(request)
    except Exception as error:  # what is due is due again once its claim has run out
        get_run_logger().warning("%s %s is not warmed: %s", request.prompt, request.version, type(error).__name__)


def _judge(settings: Settings, clock: Clock, release: ReleaseRow) -> None:
    try:
        judge_mirrored(settings, clock, release)
    except Exception as error:  # what is not judged now is by the next run; the other metrics do not wait for it
        get_run_logger().warning("%s %s is not judged: %s", release.prompt, release.version, type(error).__name__)


@dataclass(frozen=True)
class _Following:
    """How the debts of verdicts are paid."""

    settings: Settings

    def alert(self, release: ReleaseRow) -> None:
        stage = release.stage.replace("_", " ")
        text = f"{release.prompt} {release.version} {stage}: {release.reason}"
        alert(self.settings, f"release_{release.stage}", text, release=release.id)

    def warm(self, release: ReleaseRow) -> None:
        request = WarmRequest(
            tenant=release.tenant, prompt=release.prompt, version=release.version, cause=Cause.CHANGED
        )
        warm_cache(request)


def _show(settings: Settings, release: Release, report: StepReport) -> None:
    decision = report.evidence.get("decision", {})
    rows = [
        {
            "guardrail": one["metric"],
            "canary": one["canary_mean"],
            "stable": one["stable_mean"],
            "users": one["blocks"],
            "E worse": _against(one["log_e_worse_max"], one["log_threshold_worse"]),
            "E not worse": _against(one["log_e_better_max"], one["log_threshold_better"]),
        }
        for one in decision.get("guardrails", [])
    ]
    where = f" at {release.weight_percent:g} % of the users" if release.stage == Stage.CANARY else ""
    title = f"{release.prompt} {release.version}: {release.stage.replace('_', ' ')}{where}: {release.reason}"
    if mirror := report.evidence.get("mirror"):
        table(artifact_key("mirror", release.prompt), mirror_rows(mirror), title)
        return
    table(artifact_key("canary", release.prompt), rows, title)
    if worth := report.evidence.get("business"):
        arms = [{"arm": one["arm"], "calls": one["calls"], **one["per_1000_calls"]} for one in worth["arms"]]
        gain = {"arm": "gain", "calls": None, **worth["gain_per_1000_calls"]}
        words = f"Net value per 1,000 calls in US dollars, with 95 % intervals. {worth['recommendation']}"
        table(artifact_key("value", release.prompt), [*arms, gain], words)
    if judged := report.evidence.get("judged"):
        words = f"Share of right answers by judge {judged['judge']}, and corrected for its errors on labelled examples"
        table(artifact_key("judged", release.prompt), judged_rows(judged), f"{words}; 95 % intervals. Not tested.")
    if worth_drawing(release.stage, report.evidence):
        name = f"{release.prompt} {release.version}"
        drawing(artifact_key("evidence", release.prompt), picture(name, steps_of(settings, release.id)), title)


def _against(log_e: float, log_limit: float) -> str:
    """An e-value and the limit that it has to reach."""
    return f"{math.exp(min(log_e, 700.0)):.3g} of {math.exp(log_limit):.3g}"
