"""A certificate from the ledger's rows, as plain JSON. Everything in it is read, nothing is decided again here."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from gateway.errors import Conflict
from gateway.storage.models import PromptVersionRow, ReleaseRow, ReleaseStepRow
from tasks.certificates.mirrored import last_mirror
from tasks.certificates.promise import promise
from tasks.releases import store
from tasks.releases.history import LEFT
from tasks.releases.owed import SETTLED
from tasks.releases.replay import Replay, replay
from tasks.releases.stages import Stage

SCHEMA = 1


class NotFinished(Conflict):
    code = "release_not_finished"
    default_hint = "A release has a certificate once it has a verdict; 'promptyard versions NAME' follows it."


_NOTES = (SETTLED, LEFT)
"""Steps that tell what became of the release afterwards."""


def certificate(engine: Engine, release_id: str) -> dict[str, Any]:
    """The record of a release. Raises NotFound, or NotFinished while it is open."""
    release = store.get_release(engine, release_id)
    if Stage(release.stage).open:
        raise NotFinished(f"release {release.id} of {release.prompt} {release.version} is still {release.stage}")
    version = store.get_version(engine, release.tenant, release.prompt, release.version)
    return assemble(release, version, store.steps_of(engine, release_id), replay(engine, release_id))


def assemble(
    release: ReleaseRow, version: PromptVersionRow, steps: Sequence[ReleaseStepRow], replayed: Replay
) -> dict[str, Any]:
    """The record from its rows. Pure."""
    told = told_steps(steps)
    decided = [step for step in told if step["guardrails"]]
    return {
        "schema": SCHEMA,
        "release": {
            "id": release.id,
            "tenant": release.tenant,
            "prompt": release.prompt,
            "version": release.version,
            "baseline": release.baseline or None,
            "author": release.author or version.author or None,
            "changelog": version.changelog or None,
            "source": version.source or None,
            "commit": version.git_commit or None,
            "opened_at": when(release.opened_at),
            "closed_at": when(release.closed_at),
        },
        "verdict": {"stage": release.stage, "reason": release.reason, "by_hand": _by_hand(steps)},
        "promise": promise(release, by_hand=_by_hand(steps), decided=bool(decided)),
        "digests": {"version": version.digest, **release.policy.get("digests", {})},
        "gate": _gate(steps),
        "approvals": [_approval(one) for step in steps if (one := step.evidence.get("approval"))],
        "mirror": last_mirror(steps),
        "steps": told,
        "left_out": _left_out(decided),
        "judged": last_judged(steps),
        "business": last_business(steps),
        "evidence": {
            "looks": replayed.looks,
            "calls": replayed.calls,
            "late_calls": replayed.late,
            "sealed": replayed.sealed,
            "digest": replayed.digest,
            "replay": {
                "holds": replayed.holds,
                "verdicts": len(replayed.verdicts),
                "first_difference": str(replayed.difference) if replayed.difference else None,
            },
        },
    }


def when(at: float | None) -> str | None:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at is not None else None


def _by_hand(steps: Sequence[ReleaseStepRow]) -> bool:
    last = [step for step in steps if step.kind not in _NOTES][-1]
    return (last.kind == "rolled_back" and "decision" not in last.evidence) or last.kind == "rejected"


def told_steps(steps: Sequence[ReleaseStepRow]) -> list[dict[str, Any]]:
    """All steps of the release itself, with what each saw."""
    return [_step(step) for step in steps if step.kind not in _NOTES]


def _step(step: ReleaseStepRow) -> dict[str, Any]:
    decision = step.evidence.get("decision", {})
    return {
        "step": step.seq,
        "at": when(step.at),
        "what": step.kind,
        "share_percent": step.weight / 100,
        "reason": step.reason,
        "look": step.evidence.get("look"),
        "blocks": decision.get("blocks"),
        "pairs": step.evidence.get("mirror", {}).get("decision", {}).get("pairs"),
        "users": dict(step.evidence.get("users", {})),
        "excluded_calls": dict(step.evidence.get("excluded_calls", {})),
        "excluded_users": {name: n for name, n in step.evidence.get("excluded_users", {}).items() if n},
        "guardrails": [_guardrail(one) for one in decision.get("guardrails", [])],
        "sample_ratio": _ratio(decision.get("sample_ratio")),
    }


def _guardrail(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metric": one["metric"],
        "lower_is_better": one["lower_is_better"],
        "blocks": one["blocks"],
        "blocks_left_out": one["blocks_left_out"],
        "missing": {"canary": one["missing_canary"], "stable": one["missing_stable"]},
        "canary_mean": one["canary_mean"],
        "stable_mean": one["stable_mean"],
        "margin": one["margin"],
        "tolerance": one["tolerance"],
        "e_worse": e_value(one["log_e_worse_max"]),
        "rolls_back_at": e_value(one["log_threshold_worse"]),
        "e_not_worse": e_value(one["log_e_better_max"]),
        "promotes_at": e_value(one["log_threshold_better"]),
        "e_missing": e_value(one["log_e_missing_max"]),
        "missing_at": e_value(one["log_threshold_missing"]),
    }


def e_value(log_e: float) -> float:
    """An e-value from its logarithm, to six digits; the largest double where it is larger than that."""
    value = math.exp(min(log_e, 700.0))
    return float(f"{value:.6g}")


def _ratio(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not found:
        return None
    return {
        "canary_users": found["n_canary"],
        "stable_users": found["n_stable"],
        "canary_users_expected": round(float(found["expected_canary"]), 1),
        "mismatch": found["mismatch"],
    }


def _gate(steps: Sequence[ReleaseStepRow]) -> dict[str, Any] | None:
    for step in steps:
        gate = step.evidence if step.kind == "gated" else step.evidence.get("gate")
        if gate and gate.get("verdict"):
            verdict = gate["verdict"]
            return {
                "at": when(step.at),
                "outcome": verdict["outcome"],
                "against": gate.get("baseline") or None,
                "reasons": list(verdict["reasons"]),
                "items": verdict["items"],
                "failed_items": list(verdict["failed_items"]),
                "must_pass_failed": list(verdict["must_pass_failed"]),
                "metrics": [_metric(one) for one in verdict["metrics"]],
                "alpha": gate.get("policy", {}).get("alpha"),
                "mlflow_run": gate.get("mlflow_run") or None,
                "items_kept": bool(gate.get("items")),
            }
    return None


def _metric(one: Mapping[str, Any]) -> dict[str, Any]:
    difference = one.get("difference")
    return {
        "metric": one["rule"]["metric"],
        "margin": one["rule"]["margin"],
        "floor": one["rule"]["floor"],
        "candidate": one["candidate"]["mean"],
        "baseline": one["baseline_mean"],
        "difference": difference and difference["mean"],
        "lower": difference and difference["lower"],
        "upper": difference and difference["upper"],
    }


def _approval(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"by": one["by"], "at": when(one["at"]), "approved": one["approved"], "reason": one["reason"] or None}


def _left_out(decided: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the last look, which counts over the whole release."""
    last = decided[-1] if decided else {}
    return {"calls": last.get("excluded_calls", {}), "users": last.get("excluded_users", {})}


def gate_run(steps: Sequence[ReleaseStepRow]) -> str:
    """The MLflow run of the gate's evaluation; empty where it gave no verdict or MLflow was down."""
    found = _gate(steps)
    return str(found["mlflow_run"] or "") if found else ""


def last_judged(steps: Sequence[ReleaseStepRow]) -> dict[str, Any] | None:
    """Shares of right answers, corrected for the judge's errors; None where the judge was not calibrated before."""
    found = [step.evidence["judged"] for step in steps if step.evidence.get("judged")]
    return dict(found[-1]) if found else None


def last_business(steps: Sequence[ReleaseStepRow]) -> dict[str, Any] | None:
    """What the release is worth, as last figured; None where no values are declared or too little is known."""
    found = [step.evidence["business"] for step in steps if step.evidence.get("business")]
    return dict(found[-1]) if found else None
