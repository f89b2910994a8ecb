"""Hourly: are users asking other things than before, or getting other answers? Report, alert, event and re-gate."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import BaseModel, Field

from blocks.workspace import Workspace, load_workspace
from flows.gate_prompt import GateRequest, gate_prompt
from gateway.clock import Clock, SystemClock
from gateway.errors import PromptyardError
from gateway.settings import Settings
from tasks.alerts import alert
from tasks.artifacts import artifact_key, markdown, markdown_table
from tasks.drift import (
    Compared,
    Watched,
    Window,
    announce,
    compare,
    compare_embeddings,
    keep_report,
    newest_questions,
    watched_prompts,
    window,
)
from tasks.llm import embed
from tasks.registration import read
from tasks.registry import RegistryUnavailable
from tasks.statistics.drift import DriftVerdict, Outcome, decide_drift
from tasks.statistics.mmd import Mmd


class DriftRequest(BaseModel):
    """Which windows of live calls to compare."""

    tenant: str = Field("", description="Empty: all tenants.")
    prompt: str = Field("", description="Empty: every prompt in production.")
    hours: float = Field(24.0, gt=0, description="Length of the recent window, which ends now.")
    reference_hours: float = Field(168.0, gt=0, description="Length of the window before it.")
    min_rows: int = Field(50, ge=10, description="Users (and calls without a user) that each window needs.")
    alpha: float = Field(
        0.005, gt=0, lt=0.5, description="Probability of a false alarm of one look; hourly, 0.005 is one in eight days."
    )
    regate: bool = Field(True, description="On drift, evaluate the version in production anew.")
    seed: int = Field(1, ge=0, description="Of the permutations.")


@dataclass(frozen=True)
class Drift:
    """What was found for one prompt. ``announced`` is False when the same was said earlier today."""

    prompt: str
    version: str
    outcome: str
    drifted: tuple[str, ...] = ()
    mlflow_run: str = ""
    announced: bool = False
    regate: str = ""


@flow(name="monitor_drift", persist_result=False)
def monitor_drift(request: DriftRequest | None = None) -> list[Drift]:
    """Changes no traffic. Too few rows give no verdict; without the ledger's content there is nothing to look at."""
    request = request or DriftRequest()
    workspace, clock = load_workspace(), SystemClock()
    if workspace.settings.ledger_content == "off":
        note = "Drift is off: the ledger keeps no questions and answers (PROMPTYARD_LEDGER_CONTENT=off)."
        markdown("drift", note, note)
        get_run_logger().warning(note)
        return [Drift("", "", Outcome.OFF.value)]
    watched = watched_prompts(workspace.settings, request.tenant, request.prompt)
    if not watched:
        markdown("drift", "No prompt is in production.", "nothing to watch")
    now = clock.now()
    return [_watch(workspace, clock, one, request, now) for one in watched]


def _watch(workspace: Workspace, clock: Clock, watched: Watched, request: DriftRequest, now: float) -> Drift:
    settings = workspace.settings
    begin = now - 3600 * request.hours
    current = window(settings, watched, begin, now)
    reference = window(settings, watched, begin - 3600 * request.reference_hours, begin)
    compared, mmd = Compared({}, ""), None
    if min(current.rows, reference.rows) >= request.min_rows:
        compared = compare(current, reference, request.alpha, request.min_rows)
        mmd = _embeddings(settings, current, reference, request.seed)
    verdict = decide_drift(
        compared.p_values,
        mmd.p_value if mmd else None,
        (current.rows, reference.rows),
        alpha=request.alpha,
        min_rows=request.min_rows,
    )
    run_id = _keep(settings, watched, verdict, compared, mmd) if verdict.outcome is not Outcome.TOO_FEW else ""
    announced, regate = False, ""
    if verdict.outcome is Outcome.DRIFT:
        day = datetime.fromtimestamp(now, UTC).date().isoformat()
        announced = announce(settings, clock, watched, verdict, day)
        if announced:
            text = f"{watched.prompt} {watched.version} drifts: {'; '.join(verdict.reasons)}"
            alert(settings, "drift", text, prompt=watched.prompt, version=watched.version)
            regate = _regate(workspace, watched) if request.regate else "not asked for"
        else:
            regate = "done earlier today"
    _show(watched, verdict, current, reference, compared, mmd, run_id, regate)
    return Drift(watched.prompt, watched.version, verdict.outcome.value, verdict.drifted, run_id, announced, regate)


def _embeddings(settings: Settings, current: Window, reference: Window, seed: int) -> Mmd | None:
    try:
        vectors = [embed(settings, newest_questions(one)) for one in (current, reference)]
    except PromptyardError as error:
        get_run_logger().warning("the questions could not be embedded: %s", error.message)
        return None
    return compare_embeddings(vectors[0], vectors[1], seed)


def _keep(settings: Settings, watched: Watched, verdict: DriftVerdict, compared: Compared, mmd: Mmd | None) -> str:
    metrics = {f"p_{name}": value for name, value in compared.p_values.items()}
    metrics["drift"] = float(verdict.outcome is Outcome.DRIFT)
    if mmd is not None:
        metrics |= {"mmd2": mmd.value, "p_embeddings": mmd.p_value}
    try:
        return keep_report(settings, watched, compared.html, metrics)
    except RegistryUnavailable as error:
        get_run_logger().warning("the report is only on this page: %s", error.message)
        return ""


def _regate(workspace: Workspace, watched: Watched) -> str:
    """Evaluate the version in production again, if the file still says the same; says what came of it."""
    path = Path(watched.source)
    if not watched.source or not path.is_file():
        return "the file of the version is gone"
    try:
        version = read(path, workspace.policy_defaults).spec.version
        if version != watched.version:
            return f"the file is at version {version} by now"
        return gate_prompt(GateRequest(path=path, tenant=watched.tenant, against="nothing")).verdict.outcome.value
    except PromptyardError as error:
        get_run_logger().warning("the re-gate did not finish: %s", error.message)
        return f"did not finish: {error.message}"


def _show(
    watched: Watched,
    verdict: DriftVerdict,
    current: Window,
    reference: Window,
    compared: Compared,
    mmd: Mmd | None,
    run_id: str,
    regate: str,
) -> None:
    windows = [
        {
            "window": name,
            "from (UTC)": _utc(one.since),
            "to (UTC)": _utc(one.until),
            "calls": one.calls,
            "rows": one.rows,
        }
        for name, one in (("now", current), ("before", reference))
    ]
    tests = [
        {
            "column": name,
            "mean now": _mean(current, name),
            "mean before": _mean(reference, name),
            "p": f"{p:.2g}",
            "drifted": "yes" if name in verdict.drifted else "",
        }
        for name, p in compared.p_values.items()
    ]
    embeddings = f"MMD² {mmd.value:.4f}, p = {mmd.p_value:.2g}" if mmd else "not compared"
    kept = f"Evidently's report is in MLflow run `{run_id}`." if run_id else "No report is kept in MLflow."
    title = f"{watched.prompt} {watched.version}: {verdict.outcome.value}"
    markdown(
        artifact_key("drift", watched.prompt),
        f"# {title}\n\n{'; '.join(verdict.reasons)}\n\n{markdown_table(windows)}\n{markdown_table(tests)}\n"
        f"Embeddings of the questions: {embeddings}.\n\n{kept}\n\n" + (f"Re-gate: {regate}.\n" if regate else ""),
        title,
    )


def _mean(of: Window, name: str) -> float | None:
    known = [value for value in of.columns[name] if value is not None]
    return sum(known) / len(known) if known else None


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
