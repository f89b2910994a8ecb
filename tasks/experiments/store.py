"""Transitions of experiments. Each works in the caller's transaction and projects the routing table there.

After the commit, push the table (``read_routing`` in the same transaction, or ``repair``; see
``tasks/releases/publishing.py``); if the process dies before that, the next reconcile pushes it.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.clock import Clock, new_id
from gateway.errors import Conflict, NotFound
from gateway.prompts.projection import write_routing
from gateway.storage.models import ExperimentRow
from gateway.types import PromptVersion
from tasks.experiments.arms import check_callers, checked_arms, checked_spec, reweighted
from tasks.releases.rows import known_version, locked_prompt, open_experiment_of, open_release_of

OPEN = "open"
FINISHED = "finished"
STOPPED = "stopped"


class ExperimentInProgress(Conflict):
    code = "experiment_in_progress"
    default_hint = "Wait for it, or end it with 'promptyard experiment stop ID'."


class ReleaseBesideExperiment(Conflict):
    code = "release_in_progress"
    default_hint = "Wait for it, or end it with 'promptyard rollback PROMPT': of both, one prompt has one at a time."


def open_experiment(
    session: Session,
    tenant: str,
    prompt: str,
    policy: str,
    arms: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    clock: Clock,
) -> ExperimentRow:
    """Route by an experiment from now on. ``arms``: ``version`` and ``weight`` (basis points) each, the baseline first.

    The gateway goes by ``spec``'s ``context_keys``, ``fall_back`` and ``evidence_share`` (share of users whose calls
    bypass the cache as evidence, 1 by default). Raises InvalidRequest, NotFound, ExperimentInProgress,
    ReleaseBesideExperiment, and Conflict unless the baseline is in production.
    """
    declared = checked_spec(policy, spec)
    rows = checked_arms(arms)
    current = locked_prompt(session, tenant, prompt)
    if (release := open_release_of(session, tenant, prompt)) is not None:
        stage = release.stage.replace("_", " ")
        raise ReleaseBesideExperiment(
            f"release {release.id} of {prompt} {release.version} is open ({stage})",
            hint=f"Wait for it, or end it: 'promptyard rollback {prompt}'. One prompt has one of both at a time.",
        )
    if (known := open_experiment_of(session, tenant, prompt)) is not None:
        raise ExperimentInProgress(
            f"experiment {known.id} of {prompt} is open",
            hint=f"Wait for it, or end it: 'promptyard experiment stop {known.id}'.",
        )
    bundles = [
        msgspec.convert(known_version(session, tenant, prompt, arm["version"]).bundle, PromptVersion) for arm in rows
    ]
    for one, other in combinations(bundles, 2):
        check_callers(one, other)
    if rows[0]["version"] != current.production:
        serves = f"{current.production} is" if current.production else "nothing is"
        raise Conflict(
            f"the baseline {rows[0]['version']} of an experiment must be in production: {serves}",
            hint="Name the version in production as the first arm.",
        )
    identity, now = new_id("exp", clock), clock.now()
    row = ExperimentRow(
        id=identity,
        tenant=tenant,
        prompt=prompt,
        policy=policy,
        stage=OPEN,
        arms=rows,
        segments={},
        spec=declared,
        salt=hashlib.sha256(identity.encode()).hexdigest()[:16],
        epoch=0,
        started_at=now,
        ended_at=None,
        reason="",
        updated_at=now,
    )
    session.add(row)
    write_routing(session, clock)
    return row


def set_weights(
    session: Session,
    experiment_id: str,
    weights: Sequence[int],
    segments: Mapping[str, Sequence[int]],
    excluded: Collection[str],
    expected_epoch: int,
    clock: Clock,
) -> bool:
    """Route by other weights, in the order of the arms; False when it has ended, or somebody was faster.

    ``segments`` are all there are from now on, and ``excluded`` all versions that get nobody. Raises NotFound, and
    InvalidRequest for what are no weights.
    """
    row = _locked(session, experiment_id)
    if row.stage != OPEN or row.epoch != expected_epoch:
        return False
    row.arms, row.segments = reweighted(row.arms, weights, segments, excluded)
    row.epoch, row.updated_at = row.epoch + 1, clock.now()
    write_routing(session, clock)
    return True


def end_experiment(
    session: Session, experiment_id: str, stage: Literal["finished", "stopped"], reason: str, clock: Clock
) -> bool:
    """The baseline serves everybody again; False when the experiment had ended before. Raises NotFound."""
    row = _locked(session, experiment_id)
    if row.stage != OPEN:
        return False
    row.stage, row.reason = stage, reason
    row.ended_at = row.updated_at = clock.now()
    write_routing(session, clock)
    return True


def list_open(session: Session) -> list[ExperimentRow]:
    """Of all tenants, oldest first."""
    query = select(ExperimentRow).where(ExperimentRow.stage == OPEN)
    return list(session.scalars(query.order_by(ExperimentRow.started_at, ExperimentRow.id)))


def experiments_of(session: Session, tenant: str, prompt: str = "") -> list[ExperimentRow]:
    """Of a tenant, or of a prompt of theirs, newest first."""
    query = select(ExperimentRow).where(ExperimentRow.tenant == tenant)
    if prompt:
        query = query.where(ExperimentRow.prompt == prompt)
    return list(session.scalars(query.order_by(ExperimentRow.started_at.desc(), ExperimentRow.id.desc())))


def find(session: Session, id_or_prefix: str) -> ExperimentRow:
    """By its id or how it begins. Raises NotFound, and Conflict where several begin so."""
    matches = ExperimentRow.id.startswith(id_or_prefix, autoescape=True)
    found = list(session.scalars(select(ExperimentRow).where(matches).order_by(ExperimentRow.id).limit(2)))
    if not found or not id_or_prefix:
        raise NotFound(f"there is no experiment {id_or_prefix!r}", hint="'promptyard experiment status' lists them.")
    if len(found) > 1 and found[0].id != id_or_prefix:
        raise Conflict(f"several experiments begin with {id_or_prefix!r}", hint="Give more of the id.")
    return found[0]


def _locked(session: Session, experiment_id: str) -> ExperimentRow:
    """Its prompt locked before it, as everywhere."""
    row = session.get(ExperimentRow, experiment_id)
    if row is None:
        raise NotFound(f"there is no experiment {experiment_id}", hint="'promptyard experiment status' lists them.")
    locked_prompt(session, row.tenant, row.prompt)
    session.refresh(row, with_for_update=session.get_bind().dialect.name == "postgresql")
    return row
