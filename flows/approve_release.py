"""Somebody looked at the evidence and says go, or no."""

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import load_workspace
from flows.warm_cache import WarmRequest, warm_cache
from gateway.clock import SystemClock
from gateway.errors import Conflict
from tasks.releases.mirror_stage import begins_with_mirror
from tasks.releases.stages import Stage
from tasks.releasing import Release, find_release, reject, start_canary
from tasks.warm_marks import Cause


class ApprovalRequest(BaseModel):
    """Whose word it is, about which release."""

    release_id: str = Field(description="As shown by 'promptyard versions' and on the release's page.")
    approved_by: str = Field(description="Who decided; kept with the release.")
    approve: bool = Field(True, description="False rejects.")
    reason: str = ""


@flow(name="approve_release", flow_run_name="approve {request.release_id}", persist_result=False)
def approve_release(request: ApprovalRequest) -> Release:
    """Goes on with a release that awaits approval, or closes it. Raises Conflict when it does not await one."""
    settings, clock = load_workspace().settings, SystemClock()
    release = find_release(settings, request.release_id)
    if release.stage != Stage.AWAITING_APPROVAL:
        raise Conflict(f"release {release.id} awaits no approval: it is {release.stage}")
    if not request.approve:
        return reject(settings, clock, release, request.approved_by, request.reason)
    if not begins_with_mirror(release):
        warm_cache(WarmRequest(tenant=release.tenant, prompt=release.prompt, version=release.version, cause=Cause.RAMP))
    return start_canary(settings, clock, release, approved_by=request.approved_by, reason=request.reason)
