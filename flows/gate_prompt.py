"""Evaluate a registered version against the one in production and give a verdict. Changes no traffic."""

from dataclasses import replace
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from flows.register_prompt import short_name
from gateway.clock import SystemClock
from gateway.errors import Conflict
from tasks.artifacts import artifact_key, markdown, table
from tasks.gating import Gated, log_evaluation, production_version, weigh
from tasks.registration import read
from tasks.specs.bundle import bundle
from tasks.traffic_sample import sample_traffic


class GateRequest(BaseModel):
    """What to evaluate."""

    path: Path = Field(description="The prompt.yaml of the version; its datasets lie beside it.")
    tenant: str = Field("", description="Empty: the workspace's tenant.")
    against: str = Field("production", description="'production', or 'nothing' for absolute floors only.")

    @property
    def label(self) -> str:
        """The file as a person says it."""
        return short_name(self.path)


@flow(name="gate_prompt", flow_run_name="gate {request.label}", persist_result=False)
def gate_prompt(request: GateRequest) -> Gated:
    """Same items for both versions; the verdict, the figures and every answer are in MLflow and on this page."""
    if request.against not in ("production", "nothing"):
        raise Conflict(f"cannot gate against {request.against!r}", hint="Use 'production' or 'nothing'.")
    workspace = load_workspace()
    settings = workspace.settings
    file = read(request.path, workspace.policy_defaults, settings.mlflow_tracking_uri)
    version = bundle(file.spec, request.tenant or settings.tenant)
    baseline = production_version(settings, version.tenant, version.name) if request.against == "production" else None
    if baseline is not None and baseline.version == version.version:
        baseline = None  # a re-gate of what serves: there is nothing to compare with but the floors
    live = sample_traffic(settings, version, file.spec.gate.traffic, SystemClock().now())
    gated = weigh(settings, file, version, baseline, live)
    gated = replace(gated, run_id=log_evaluation(settings, file, gated, str(flow_run.ui_url or "")))
    key = artifact_key("gate", version.name)
    markdown(key, gated.summary, f"{version.name} {version.version}: {gated.verdict.outcome.value}")
    table(artifact_key("gate", version.name, "items"), gated.rows, "Every item, the worst first")
    return gated
