"""A prompt from a file to its first live users: register, gate, approval, warm-up, canary."""

from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from flows.gate_prompt import GateRequest, gate_prompt
from flows.register_prompt import RegisterRequest, register_prompt, short_name
from flows.warm_cache import WarmRequest, warm_cache
from gateway.clock import SystemClock
from tasks.artifacts import artifact_key, markdown
from tasks.expectation import expect_canary
from tasks.gating import Gated
from tasks.mirroring import check_mirrored_tools
from tasks.registration import read
from tasks.releases.forecast import Forecast
from tasks.releases.mirror_stage import begins_with_mirror
from tasks.releases.stages import Stage
from tasks.releasing import Release, close_with_error, hold_for_approval, open_release, refuse, reported, start_canary
from tasks.specs.model import Approval
from tasks.warm_marks import Cause


class ReleaseRequest(BaseModel):
    """What to release."""

    path: Path = Field(description="The prompt.yaml.")
    tenant: str = Field("", description="Empty: the workspace's tenant.")
    author: str = Field("", description="Who releases; empty: the author in the file.")
    salt: str | None = Field(
        None, description="Fixes which users see the canary first; by default each release differs."
    )

    @property
    def label(self) -> str:
        """The file as a person says it."""
        return short_name(self.path)


@flow(name="release_prompt", flow_run_name="release {request.label}", persist_result=False)
def release_prompt(request: ReleaseRequest) -> Release:
    """Ends when the canary, or the mirror before it, has started; ``advance_canaries`` takes it from there."""
    workspace = load_workspace()
    settings, clock = workspace.settings, SystemClock()
    tenant = request.tenant or settings.tenant
    file = read(request.path, workspace.policy_defaults, settings.mlflow_tracking_uri)
    check_mirrored_tools(settings, file.spec)
    register_prompt(RegisterRequest(path=request.path, tenant=tenant, author=request.author))
    expected = expect_canary(settings, clock, file.spec.canary, tenant, file.spec.name)
    release = open_release(settings, clock, file, tenant, request.author, request.salt, str(flow_run.id or ""))
    try:
        gated = gate_prompt(GateRequest(path=request.path, tenant=tenant))
    except Exception as error:
        close_with_error(settings, clock, release, str(error) or type(error).__name__)
        reported(settings, clock, release.id)  # whoever started this run sees it fail
        raise
    if not gated.passed:
        ended = refuse(settings, clock, release, gated)
    elif file.spec.approval is Approval.REQUIRED:
        ended = hold_for_approval(settings, clock, release, gated)
    else:
        if not begins_with_mirror(release):  # after a mirror, the first users' cache is warmed when they are near
            warm_cache(WarmRequest(tenant=tenant, prompt=file.spec.name, version=file.spec.version, cause=Cause.RAMP))
        ended = start_canary(settings, clock, release, gated)
    _report(ended, gated, expected)
    reported(settings, clock, ended.id)
    return ended


def _report(release: Release, gated: Gated, expected: Forecast | None) -> None:
    """The evidence is on this run's own page, where somebody approves or rejects."""
    decide = (
        f"\nTo decide: `promptyard approve {release.id} --by NAME`, or `promptyard reject {release.id} --by NAME"
        " --reason WHY`, or run `approve_release` from here.\n"
        if release.stage == Stage.AWAITING_APPROVAL
        else ""
    )
    canary = f"- expected: {expected.in_words()}\n" if expected is not None else ""
    markdown(
        artifact_key("release", release.prompt),
        f"# {release.prompt} {release.version}: **{release.stage.replace('_', ' ')}**\n\n"
        f"{release.reason}\n\n- release `{release.id}`\n- before: {release.baseline or 'nothing'}\n"
        f"- share of users: {release.weight_percent:g} %\n{canary}{decide}\n{gated.summary}",
        f"{release.prompt} {release.version}: {release.stage}",
    )
