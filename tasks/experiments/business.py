"""What each arm of an experiment is worth beside the baseline, by the values that the prompt declares.

The same reckoning as a release's (``tasks/releases/business.py``), a user counting on the arm of the first call. It
does not weigh users by how likely they were to get their arm, so there is none for a contextual experiment: its arms
have different kinds of users.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from msgspec import structs
from sqlalchemy import Engine

from gateway.ledger.queries import ExperimentCall
from gateway.prompts.splits import Policy
from gateway.storage.engine import reading
from gateway.types import CANARY, STABLE
from tasks.experiments.evidence import answering, failed
from tasks.experiments.look import Look
from tasks.experiments.standing import Shown
from tasks.experiments.weights import Found
from tasks.releases.business import by_arm, declared_values, recommendation
from tasks.releases.evidence import BLAMED_ERRORS
from tasks.releases.rows import known_version
from tasks.releases.stages import Stage
from tasks.specs.model import ValueSpec
from tasks.statistics.business import Impact, JudgeErrors, Values, impact


def worth_now(engine: Engine, found: Found) -> list[dict[str, Any]]:
    """What each arm is worth; empty where the baseline's prompt.yaml declares no values."""
    row = found.row
    with reading(engine) as session:
        baseline = known_version(session, row.tenant, row.prompt, found.shown.versions[0])
        values = declared_values(baseline.spec)
    return worth(found.shown, found.look, values, experiment_id=row.id) if values else []


def worth(shown: Shown, look: Look, spec: ValueSpec, *, experiment_id: str) -> list[dict[str, Any]]:
    """One entry an arm beside the baseline, where enough is known; seeded by the experiment's id."""
    if shown.policy is Policy.CONTEXTUAL:
        return []
    judge = JudgeErrors(**spec.judge.model_dump()) if spec.judge else None
    found: list[dict[str, Any]] = []
    for version in shown.versions[1:]:
        arms = by_arm(_beside(look.gathered.calls, shown.versions[0], version), spec.resolved_from)
        result = impact(
            arms[STABLE],
            arms[CANARY],
            Values(spec.resolved, spec.escalation, spec.waiting_minute),
            calls_per_year=spec.calls_per_year(len(shown.calls), shown.now - shown.epochs[0].began),
            judge=judge,
            seed=int.from_bytes(hashlib.sha256(f"{experiment_id}/{version}".encode()).digest()[:4], "big"),
        )
        if result is not None:
            found.append(_plain(version, result))
    return found


def _plain(version: str, found: Impact) -> dict[str, Any]:
    return {
        "version": version,
        "per_1000_calls": asdict(found.canary.per_1000_calls),
        "baseline_per_1000_calls": asdict(found.stable.per_1000_calls),
        "gain_per_1000_calls": asdict(found.gain_per_1000_calls),
        "gain_per_year": asdict(found.gain_per_year),
        "probability_of_loss": found.probability_of_loss,
        "recommendation": recommendation(found, Stage.CANARY),
    }


def _beside(calls: Iterable[ExperimentCall], baseline: str, version: str) -> list[ExperimentCall]:
    """Evidence calls of both, named as a release names its arms; an arm that was replaced has failed."""
    names = {baseline: STABLE, version: CANARY}
    blamed = min(BLAMED_ERRORS)
    return [
        structs.replace(
            call,
            arm=names[answering(call)],
            status="failed" if failed(call) else call.status,
            error=(call.error if call.status != "ok" else blamed) if failed(call) else "",
            layer="none" if failed(call) else call.layer,
            fell_back=False,
            scores={} if failed(call) else call.scores,
        )
        for call in calls
        if answering(call) in names
    ]
