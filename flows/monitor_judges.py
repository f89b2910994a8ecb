"""Every night: does the judge still score the same answers as when it was calibrated? A drifting one is reported."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from pydantic import BaseModel, Field

from blocks.workspace import Workspace, load_workspace
from gateway.errors import PromptyardError
from tasks.alerts import alert
from tasks.artifacts import table
from tasks.drift import Watched, watched_prompts
from tasks.judge_anchors import read_anchors, score_anchors
from tasks.registration import read
from tasks.specs.reading import SpecError
from tasks.statistics.judge_drift import JudgeState


class JudgesRequest(BaseModel):
    """Whose judges to look at."""

    tenant: str = Field("", description="Empty: all tenants.")
    prompt: str = Field("", description="Empty: every prompt in production.")


@dataclass(frozen=True)
class WatchedJudge:
    """What was found about the judge of one prompt. ``shift``: of its mean score, now minus then."""

    prompt: str
    judge: str
    state: str
    reason: str
    shift: float = 0.0


@flow(name="monitor_judges", persist_result=False)
def monitor_judges(request: JudgesRequest | None = None) -> list[WatchedJudge]:
    """Changes nothing. A prompt whose gate names no anchors is left alone; what cannot be read is said, not hidden."""
    request = request or JudgesRequest()
    workspace = load_workspace()
    found = [
        seen
        for watched in watched_prompts(workspace.settings, request.tenant, request.prompt)
        if (seen := _look(workspace, watched)) is not None
    ]
    for one in found:
        if one.state == JudgeState.DRIFTING:
            text = f"the judge of {one.prompt} drifts: {one.reason}; calibrate it again before the next gate"
            alert(workspace.settings, "judge", text, prompt=one.prompt, judge=one.judge, shift=one.shift)
    rows = [
        {"prompt": one.prompt, "judge": one.judge, "state": one.state, "shift": one.shift, "what was seen": one.reason}
        for one in found
    ]
    table("judges", rows, f"{sum(one.state == JudgeState.DRIFTING for one in found)} of {len(found)} judges drift")
    return found


def _look(workspace: Workspace, watched: Watched) -> WatchedJudge | None:
    """None for a prompt without anchors."""
    path = Path(watched.source)
    if not watched.source or not path.is_file():
        return None
    try:
        file = read(path, workspace.policy_defaults)
        judge = file.spec.gate.judge
        if not judge.anchors:
            return None
        drift = score_anchors(workspace.settings, watched.tenant, judge, read_anchors(file.folder / judge.anchors))
    except (PromptyardError, SpecError) as error:
        return WatchedJudge(watched.prompt, "", JudgeState.UNKNOWN, str(error)[:500])
    return WatchedJudge(watched.prompt, judge.model, drift.state, drift.reason, round(drift.shift, 4))
