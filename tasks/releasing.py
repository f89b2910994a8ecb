"""Prefect tasks around the release transitions: each one commits first, then pushes and verifies."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prefect.logging import get_run_logger

from gateway.clock import Clock
from gateway.settings import Settings
from gateway.storage.models import ReleaseRow, ReleaseStepRow
from gateway.types import RoutingTable
from tasks import registry
from tasks.certificates.filing import Filed, unfiled
from tasks.certificates.filing import file_certificates as certificate_files
from tasks.certificates.pictures import picture_files, worth_drawing
from tasks.certificates.record import gate_run
from tasks.evaluators.judge import judge_version
from tasks.gating import Gated
from tasks.registration import engine_of
from tasks.releases import owed, reconcile, store
from tasks.releases.judged import known_counts
from tasks.releases.limits import with_limits
from tasks.releases.looks import canonical_digest
from tasks.releases.mirror_view import mirror_metrics
from tasks.releases.owed import FollowUp, Owed, Payment, owing, settle_owed
from tasks.releases.publishing import Publication, publish, repair
from tasks.releases.sealing import seal_closed
from tasks.releases.stages import Stage
from tasks.releases.store import Step
from tasks.specs.bundle import digest as spec_digest
from tasks.specs.datasets import digest as dataset_digest
from tasks.specs.reading import SpecFile
from tasks.statistics.gate import GateOutcome
from tasks.step import step


@dataclass(frozen=True)
class Release:
    """Where a release stands, for people and machines."""

    id: str
    tenant: str
    prompt: str
    version: str
    baseline: str
    stage: str
    weight_percent: float
    reason: str

    @classmethod
    def of(cls, row: ReleaseRow) -> "Release":
        return cls(row.id, row.tenant, row.prompt, row.version, row.baseline, row.stage, row.weight / 100, row.reason)


@step("open release")
def open_release(
    settings: Settings, clock: Clock, file: SpecFile, tenant: str, author: str, salt: str | None, flow_run: str
) -> ReleaseRow:
    """Raises ReleaseInProgress while another release of the prompt is open."""
    engine, by = engine_of(settings), file.spec.gate.judge
    canary = with_limits(engine, file.spec.canary, tenant, file.spec.name, now=clock.now())
    judge = judge_version(by.model, by.criteria, file.spec.background.pack_size)
    counts = known_counts(engine, tenant, judge)
    return store.open_release(
        engine,
        clock,
        tenant=tenant,
        prompt=file.spec.name,
        version=file.spec.version,
        policy={
            "canary": canary.model_dump(mode="json"),
            "evidence_share_bp": round(canary.evidence_share * 10_000),
            "approval": file.spec.approval.value,
            "digests": {
                "spec": canonical_digest(file.spec.model_dump(mode="json", by_alias=True)),
                "behaviour": spec_digest(file.spec),
                "golden": dataset_digest(file.golden),
                "must_pass": dataset_digest(file.must_pass),
            },
            "gate": file.spec.gate.model_dump(mode="json"),
            "value": file.spec.value and file.spec.value.model_dump(mode="json"),
            "background": file.spec.background.model_dump(mode="json"),
            "judge": counts and asdict(counts),
        },
        author=author or file.spec.author,
        salt=salt,
        flow_run=flow_run,
    )


@step("refuse")
def refuse(settings: Settings, clock: Clock, release: ReleaseRow, gated: Gated) -> Release:
    """Close the release by the gate's verdict: refused, inconclusive or error."""
    stage = {
        GateOutcome.FAIL: Stage.REFUSED,
        GateOutcome.INCONCLUSIVE: Stage.INCONCLUSIVE,
        GateOutcome.ERROR: Stage.ERROR,
    }[gated.verdict.outcome]
    step = Step("gated", "; ".join(gated.verdict.reasons), owing(Owed.REPORT, _gate_evidence(gated)))
    row, _ = store.transition(engine_of(settings), clock, release, stage, step)
    return Release.of(row)


@step("close after an error")
def close_with_error(settings: Settings, clock: Clock, release: ReleaseRow, problem: str) -> Release:
    """Free the prompt for the next try when the gate could not be finished."""
    step = Step("closed", f"the gate did not finish: {problem}", owing(Owed.REPORT))
    row, _ = store.transition(engine_of(settings), clock, release, Stage.ERROR, step)
    return Release.of(row)


@step("hold for approval")
def hold_for_approval(settings: Settings, clock: Clock, release: ReleaseRow, gated: Gated) -> Release:
    """The release waits in the ledger, not in a worker."""
    step = Step("gated", "the gate passed; somebody must approve", owing(Owed.REPORT, _gate_evidence(gated)))
    row, _ = store.transition(engine_of(settings), clock, release, Stage.AWAITING_APPROVAL, step)
    return Release.of(row)


@step("start canary")
def start_canary(
    settings: Settings,
    clock: Clock,
    release: ReleaseRow,
    gated: Gated | None = None,
    approved_by: str = "",
    reason: str = "",
) -> Release:
    """Set the first weight, then verify that every live gateway serves by it. ``reason``: why it was approved."""
    evidence: dict[str, Any] = {"gate": _gate_evidence(gated)} if gated else {}
    if approved_by:
        evidence["approval"] = {"by": approved_by, "at": clock.now(), "approved": True, "reason": reason}
    row, table = reconcile.start_canary(engine_of(settings), clock, release, approved_by=approved_by, evidence=evidence)
    push(settings, table)
    project(settings, row, {})
    return Release.of(row)


@step("reject")
def reject(settings: Settings, clock: Clock, release: ReleaseRow, actor: str, reason: str) -> Release:
    """Close a release that waits for approval."""
    approval = {"by": actor, "at": clock.now(), "approved": False, "reason": reason}
    words = f"rejected by {actor or 'somebody'}: {reason or 'no reason given'}"
    step = Step("rejected", words, {"approval": approval})
    row, _ = store.transition(engine_of(settings), clock, release, Stage.REFUSED, step)
    return Release.of(row)


@step("find release")
def find_release(settings: Settings, release_id: str) -> ReleaseRow:
    """Raises NotFound."""
    return store.get_release(engine_of(settings), release_id)


def steps_of(settings: Settings, release_id: str) -> list[ReleaseStepRow]:
    """What happened to a release so far, in order."""
    return store.steps_of(engine_of(settings), release_id)


@step("open releases")
def list_open(settings: Settings) -> list[ReleaseRow]:
    """Every open release, of all tenants, oldest first."""
    return store.open_releases(engine_of(settings))


@step("repair projections")
def repair_projections(settings: Settings, clock: Clock) -> Publication:
    """Routing table from the rows, pushed and verified; MLflow's aliases from the rows, if it is up."""
    engine = engine_of(settings)
    publication = repair(engine, clock, settings)
    for prompt in store.list_prompts(engine):
        _aliases(settings, prompt.tenant, prompt.name)
    return publication


@step("advance release")
def advance(settings: Settings, clock: Clock, release_id: str, owner: str) -> reconcile.StepReport | None:
    """One reconcile of one release, its table pushed, its metrics in MLflow."""
    report = reconcile.advance(engine_of(settings), clock, release_id, owner)
    if report is None:
        return None
    if report.table is not None:
        push(settings, report.table)
    if report.move is not None:
        project(settings, report.release, report.evidence)
    return report


def follow_up(settings: Settings, clock: Clock, owner: str, how: FollowUp) -> list[Payment]:
    """Alerts and warm-ups that verdicts owe, those of runs that died before them included."""
    payments = settle_owed(engine_of(settings), clock, owner, how)
    for one in payments:
        if one.problem:
            get_run_logger().warning("%s of %s waits: %s", one.owed.value, one.release.id, one.problem)
    return payments


@step("seal closed releases")
def seal(settings: Settings, clock: Clock) -> list[str]:
    """The last link of every release whose verdict is a while old: what turns up later was added by somebody."""
    return seal_closed(engine_of(settings), clock)


@step("reported")
def reported(settings: Settings, clock: Clock, release_id: str) -> None:
    """People have been told of the gate's verdict: no alert needs to make up for it."""
    owed.reported(engine_of(settings), clock, release_id)


def push(settings: Settings, table: RoutingTable) -> Publication:
    """Push a table; what it did not reach is said, and repaired by the next reconcile."""
    published = publish(settings, table)
    logger = get_run_logger()
    if published.verified:
        logger.info("routing revision %d is live on %d gateways", published.revision, published.live)
    else:
        logger.warning(
            "routing revision %d is not everywhere yet: %s",
            published.revision,
            published.problem or published.behind,
        )
    return published


def project(settings: Settings, release: ReleaseRow, evidence: Mapping[str, Any]) -> None:
    """Show the release in MLflow. Never raises: MLflow may be down, and nothing depends on it."""
    try:
        _aliases(settings, release.tenant, release.prompt)
        engine = engine_of(settings)
        run_id = _run_of(settings, release)
        steps = store.steps_of(engine, release.id)
        registry.log_step(
            settings.mlflow_tracking_uri,
            run_id,
            steps[-1].seq,
            step_metrics(release, evidence),
            ended=release.open_slot is None,
        )
        if worth_drawing(release.stage, evidence):
            registry.log_texts(settings.mlflow_tracking_uri, run_id, picture_files(steps))
    except Exception as error:
        get_run_logger().warning("MLflow does not show this step of %s: %s", release.id, type(error).__name__)


def _run_of(settings: Settings, release: ReleaseRow) -> str:
    """The release's run in MLflow, begun if it has none. Raises RegistryUnavailable."""
    if release.mlflow_run:
        return release.mlflow_run
    run_id = registry.open_run(
        settings.mlflow_tracking_uri,
        experiment=f"promptyard/{registry.registry_name(release.tenant, release.prompt)}",
        name=f"release {release.version} against {release.baseline or 'nothing'}",
        params={"release": release.id, "version": release.version, "baseline": release.baseline or "none"},
        tags={"promptyard.kind": "canary", "promptyard.release": release.id},
    )
    store.set_mlflow_run(engine_of(settings), release.id, run_id)
    return run_id


@step("file certificates")
def file_certificates(settings: Settings, clock: Clock) -> list[Filed]:
    """Certificates of sealed releases, as files of their MLflow runs; while MLflow is down they wait."""
    engine = engine_of(settings)
    if not registry.is_up(settings.mlflow_tracking_uri) or not unfiled(engine, clock.now()):
        return []

    def file(release: ReleaseRow, texts: Mapping[str, str]) -> None:
        steps = store.steps_of(engine, release.id)
        evaluated = gate_run(steps)
        run_id = release.mlflow_run or evaluated or _run_of(settings, release)
        registry.log_texts(settings.mlflow_tracking_uri, run_id, {**texts, **picture_files(steps)})
        if run_id != evaluated:  # MLflow may have been down at the verdict
            registry.log_step(settings.mlflow_tracking_uri, run_id, steps[-1].seq, {}, ended=True)

    filed = certificate_files(engine, clock, file)
    for one in filed:
        if one.problem:
            get_run_logger().warning("the certificate of %s waits: %s", one.release.id, one.problem)
    return filed


def step_metrics(release: ReleaseRow, evidence: Mapping[str, Any]) -> dict[str, float]:
    """A step as numbers: weight in percent, blocks, and per guardrail the means and log e-values."""
    values = {"weight_percent": release.weight / 100}
    decision = evidence.get("decision")
    if decision:
        values["blocks"] = float(decision["blocks"])
        for guardrail in decision["guardrails"]:
            name = guardrail["metric"]
            for key in ("canary_mean", "stable_mean", "log_e_worse", "log_e_better"):
                if guardrail[key] is not None:
                    values[f"{name}_{key}"] = float(guardrail[key])
    if mirror := evidence.get("mirror"):
        values |= mirror_metrics(mirror)
    return {**values, **_business_metrics(evidence.get("business")), **_judged_metrics(evidence.get("judged"))}


def _judged_metrics(judged: Mapping[str, Any] | None) -> dict[str, float]:
    """Shares of right answers as the judge says, and corrected for its errors."""
    if not judged:
        return {}
    found = {f"{one['arm']}_right": one for one in judged["arms"]}
    values = {name: float(one["judged"]["mean"]) for name, one in found.items()}
    for name, one in found.items():
        values |= {f"{name}_corrected_{key}": float(one["corrected"][key]) for key in ("mean", "lower", "upper")}
    return values


def _business_metrics(business: Mapping[str, Any] | None) -> dict[str, float]:
    if not business:
        return {}
    values = {"probability_of_loss": float(business["probability_of_loss"])}
    for arm in business["arms"]:
        values[f"{arm['arm']}_net_value_per_1000_calls"] = float(arm["per_1000_calls"]["mean"])
    for name in ("gain_per_1000_calls", "gain_per_year"):
        values |= {f"{name}_{key}": float(business[name][key]) for key in ("mean", "lower", "upper")}
    return values


def _aliases(settings: Settings, tenant: str, prompt: str) -> None:
    engine = engine_of(settings)
    current = store.get_prompt(engine, tenant, prompt)
    canary = next(
        (row for row in store.open_releases(engine, Stage.CANARY) if (row.tenant, row.prompt) == (tenant, prompt)),
        None,
    )
    known = {row.version: row.mlflow_version for row in store.list_versions(engine, tenant, prompt)}
    wanted = {
        registry.PRODUCTION: known.get(current.production, ""),
        registry.CANARY: known.get(canary.version, "") if canary else "",
    }
    try:
        registry.set_aliases(settings.mlflow_tracking_uri, tenant=tenant, prompt=prompt, aliases=wanted)
    except registry.RegistryUnavailable as error:
        get_run_logger().warning("MLflow's aliases of %s wait: %s", prompt, error.message)


def _gate_evidence(gated: Gated) -> dict[str, Any]:
    seen = {"verdict": gated.verdict.to_json(), "mlflow_run": gated.run_id, "baseline": gated.baseline}
    return {**seen, **gated.decided_on}


def owner_name(run_id: str) -> str:
    """Who holds a lease: the flow run, or this moment where there is none."""
    return run_id or f"local-{time.time_ns()}"
