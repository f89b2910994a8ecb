"""Transitions of releases and prompts, each one SQL transaction that also projects the routing table.

Every change is a compare-and-set on the release's ``revision``: of two processes with the same view one wins and the
other gets ``StaleRelease``. After the commit, push the returned table (see ``publishing.py``); if the process dies
before that, the next reconcile pushes it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, make_transient

from gateway.clock import Clock, new_id
from gateway.errors import Conflict, NotFound
from gateway.prompts.projection import write_routing
from gateway.storage.engine import reading, writing
from gateway.storage.models import ExperimentRow, PromptRow, PromptVersionRow, ReleaseRow, ReleaseStepRow
from gateway.storage.upsert import insert_missing
from gateway.types import RoutingTable
from tasks.releases.history import LEFT, last_promotion, version_before
from tasks.releases.rows import known_version, locked_prompt, open_experiment_of, open_release_of
from tasks.releases.stages import Stage, may_go


class ReleaseInProgress(Conflict):
    code = "release_in_progress"
    default_hint = "Wait for it, or end it with 'promptyard rollback PROMPT'."


class ExperimentBesideRelease(Conflict):
    code = "experiment_in_progress"
    default_hint = "Wait for it, or end it with 'promptyard experiment stop ID': of both, one prompt has one at a time."


class StaleRelease(Conflict):
    code = "stale_release"
    default_hint = "Another process changed the release; read it again."


class DuplicateVersion(Conflict):
    code = "duplicate_version"
    default_hint = "Raise 'version' in prompt.yaml: a version never changes once it is registered."


class StandingChanged(Conflict):
    code = "standing_changed"
    default_hint = "Somebody else was faster. Look at 'promptyard versions NAME'; repeat it if it is still needed."


@dataclass(frozen=True)
class Standing:
    """What serves a prompt as somebody saw it; fields are empty where there is nothing."""

    production: str
    release: str
    """Id of the open release."""
    candidate: str
    """Version of the open release."""
    experiment: str = ""
    """Id of the open experiment."""
    arms: tuple[str, ...] = ()
    """Versions of the open experiment, the excluded ones too."""


@dataclass(frozen=True)
class Step:
    """What a transition leaves behind for people and for the certificate."""

    kind: str
    reason: str
    evidence: Mapping[str, Any]


# --- registration ------------------------------------------------------------------------------------------------


def _in_progress(known: ReleaseRow) -> ReleaseInProgress:
    stage = known.stage.replace("_", " ")
    return ReleaseInProgress(
        f"release {known.id} of {known.prompt} {known.version} is open ({stage})",
        hint=f"Wait for it, or end it: 'promptyard rollback {known.prompt}'.",
    )


def register_version(engine: Engine, clock: Clock, row: PromptVersionRow) -> PromptVersionRow:
    """Keep a version. The same version with the same digest is the one that is there; another digest is refused."""
    try:
        return _keep_version(engine, clock, row)
    except IntegrityError:  # another process has registered it in this moment: now it is there
        make_transient(row)
        return _keep_version(engine, clock, row)


def _keep_version(engine: Engine, clock: Clock, row: PromptVersionRow) -> PromptVersionRow:
    with writing(engine) as session:
        known = session.get(PromptVersionRow, (row.tenant, row.name, row.version))
        if known is not None:
            if known.digest != row.digest:
                raise DuplicateVersion(f"{row.name} {row.version} exists with another content")
            # Policies may change without a new version; what decides an answer may not.
            known.spec, known.bundle, known.changelog = row.spec, row.bundle, row.changelog or known.changelog
            known.git_commit = row.git_commit or known.git_commit
            return known
        row.created_at = clock.now()
        session.add(row)
        prompt = {"tenant": row.tenant, "name": row.name, "updated_at": clock.now()}
        fresh = {"production": "", "previous": "", "revision": 0}
        insert_missing(session, PromptRow, [prompt | fresh])
        return row


def note_version(engine: Engine, tenant: str, name: str, version: str, **values: str) -> None:
    """Note facts about a version that do not change it: ``mlflow_version``, ``verdict``, ``gate_run``."""
    with writing(engine) as session:
        row = known_version(session, tenant, name, version)
        for key, value in values.items():
            if key not in {"mlflow_version", "verdict", "gate_run"}:
                raise ValueError(f"{key} of a version cannot be noted")
            setattr(row, key, value)


def get_version(engine: Engine, tenant: str, name: str, version: str) -> PromptVersionRow:
    """Raises NotFound."""
    with reading(engine) as session:
        return known_version(session, tenant, name, version)


def list_versions(engine: Engine, tenant: str, name: str) -> list[PromptVersionRow]:
    """Newest first. Raises NotFound when the prompt is unknown."""
    with reading(engine) as session:
        locked_prompt(session, tenant, name)
        return list(
            session.scalars(
                select(PromptVersionRow)
                .where(PromptVersionRow.tenant == tenant, PromptVersionRow.name == name)
                .order_by(PromptVersionRow.created_at.desc())
            )
        )


def get_prompt(engine: Engine, tenant: str, name: str) -> PromptRow:
    """Raises NotFound."""
    with reading(engine) as session:
        return locked_prompt(session, tenant, name)


def list_prompts(engine: Engine, tenant: str | None = None) -> list[PromptRow]:
    """All prompts of a tenant, or of all tenants, by name."""
    query = select(PromptRow).order_by(PromptRow.tenant, PromptRow.name)
    with reading(engine) as session:
        return list(session.scalars(query.where(PromptRow.tenant == tenant) if tenant is not None else query))


# --- releases ----------------------------------------------------------------------------------------------------


def open_release(
    engine: Engine,
    clock: Clock,
    *,
    tenant: str,
    prompt: str,
    version: str,
    policy: Mapping[str, Any],
    author: str = "",
    salt: str | None = None,
    flow_run: str = "",
) -> ReleaseRow:
    """Begin a release in stage *gating*. Raises ReleaseInProgress while another of the prompt is open,
    ExperimentBesideRelease while an experiment is, and Conflict when the version already is in production. A release
    of the same version that is still *gating* is taken up again, so that an interrupted run can be repeated.
    """
    release_id = new_id("rel", clock)
    try:
        with writing(engine) as session:
            current = locked_prompt(session, tenant, prompt)
            known_version(session, tenant, prompt, version)
            if current.production == version:
                hint = "Its policies (cache, gate ...) follow the file; other content needs another 'version'."
                raise Conflict(f"{prompt} {version} is in production already", hint=hint)
            if (known := open_release_of(session, tenant, prompt)) is not None:
                if known.version == version and known.stage == Stage.GATING:
                    known.flow_run = flow_run
                    return known
                raise _in_progress(known)
            if (experiment := open_experiment_of(session, tenant, prompt)) is not None:
                raise ExperimentBesideRelease(
                    f"experiment {experiment.id} of {prompt} is open",
                    hint=f"Wait for it, or end it: 'promptyard experiment stop {experiment.id}'.",
                )
            row = _fresh(clock, release_id, current, version, policy, author)
            row.flow_run, row.salt = flow_run, salt or row.salt
            session.add(row)
            session.flush()
            add_step(session, clock, row, Step("registered", f"release of {prompt} {version} opened", {}))
            return row
    except IntegrityError:
        raise ReleaseInProgress(f"another release of {prompt} was opened at the same moment") from None


def promote_outright(
    session: Session,
    clock: Clock,
    *,
    tenant: str,
    prompt: str,
    version: str,
    policy: Mapping[str, Any],
    author: str,
    step: Step,
) -> tuple[ReleaseRow, RoutingTable]:
    """A release that was decided elsewhere: opened and promoted in the caller's transaction, so that history, rollback
    and certificate know it as they know any other. Raises NotFound, ReleaseInProgress while another release of the
    prompt is open, and Conflict when the version already is in production.
    """
    current = locked_prompt(session, tenant, prompt)
    known_version(session, tenant, prompt, version)
    if current.production == version:
        raise Conflict(f"{prompt} {version} is in production already", hint="There is nothing to promote.")
    if (known := open_release_of(session, tenant, prompt)) is not None:
        raise _in_progress(known)
    row = _fresh(clock, new_id("rel", clock), current, version, policy, author)
    session.add(row)
    session.flush()
    add_step(session, clock, row, Step("registered", f"release of {prompt} {version} opened", {}))
    return row, _move(session, clock, row, Stage.PROMOTED, step, approved_by=author)


def _fresh(
    clock: Clock, release_id: str, prompt: PromptRow, version: str, policy: Mapping[str, Any], author: str
) -> ReleaseRow:
    """A release that has only been opened."""
    return ReleaseRow(
        id=release_id,
        tenant=prompt.tenant,
        prompt=prompt.name,
        version=version,
        baseline=prompt.production,
        stage=Stage.GATING.value,
        open_slot=f"{prompt.tenant}/{prompt.name}",
        policy=dict(policy),
        salt=hashlib.sha256(release_id.encode()).hexdigest()[:16],
        opened_at=clock.now(),
        step_since=clock.now(),
        author=author,
        flow_run="",
        weight=0,
        step=0,
        revision=0,
        lease_owner="",
        lease_until=0.0,
        reason="",
        approved_by="",
        mlflow_run="",
    )


def transition(
    engine: Engine,
    clock: Clock,
    release: ReleaseRow,
    there: Stage,
    step: Step,
    *,
    weight: int | None = None,
    plan_step: int | None = None,
    approved_by: str = "",
) -> tuple[ReleaseRow, RoutingTable]:
    """Move a release on from the revision that the caller saw. ``weight`` is in basis points of the users.

    Raises StaleRelease when somebody else was faster, ValueError for a move that cannot be. Promotion sets the
    prompt's production version in the same transaction; closing frees the prompt for the next release.
    """
    with writing(engine) as session:
        locked_prompt(session, release.tenant, release.prompt)  # first, as everywhere: no deadlock with a rollback
        row = session.get(ReleaseRow, release.id, with_for_update=True)
        if row is None:
            raise NotFound(f"there is no release {release.id}")
        if row.revision != release.revision:
            raise StaleRelease(f"release {row.id} is at revision {row.revision}, not {release.revision}")
        return row, _move(session, clock, row, there, step, weight, plan_step, approved_by)


def _move(
    session: Session,
    clock: Clock,
    row: ReleaseRow,
    there: Stage,
    step: Step,
    weight: int | None = None,
    plan_step: int | None = None,
    approved_by: str = "",
) -> RoutingTable:
    here = Stage(row.stage)
    if not may_go(here, there):
        raise ValueError(f"a release cannot go from {here} to {there}")
    if weight is not None and there is Stage.CANARY and weight < row.weight:
        raise ValueError("within a release weights only grow, so that nobody changes back")
    now = clock.now()
    row.stage, row.reason = there.value, step.reason
    row.revision += 1
    row.approved_by = approved_by or row.approved_by
    if plan_step is not None:
        row.step, row.step_since = plan_step, now
    if weight is not None:
        row.weight = weight
    if not there.open:
        row.open_slot, row.closed_at = None, now
        row.weight = 10_000 if there is Stage.PROMOTED else 0
    if there is Stage.PROMOTED:
        prompt = locked_prompt(session, row.tenant, row.prompt)
        _set_production(prompt, row.version, now, previous=prompt.production)
    add_step(session, clock, row, step)
    session.flush()
    return write_routing(session, clock)


def standing(engine: Engine, tenant: str, prompt: str) -> Standing:
    """What a rollback would undo, for its ``expected``. Raises NotFound."""
    with reading(engine) as session:
        row = locked_prompt(session, tenant, prompt)
        return _standing(row, open_release_of(session, tenant, prompt), open_experiment_of(session, tenant, prompt))


def roll_back(
    engine: Engine,
    clock: Clock,
    *,
    tenant: str,
    prompt: str,
    to: str = "",
    actor: str = "",
    expected: Standing | None = None,
) -> tuple[str, str, RoutingTable]:
    """Back to a version that served before: (version in production, what was undone, table to push).

    With an open release or experiment: it is closed, and the stable version gets every user again; where there is none,
    as before a first promotion, the version returned is empty. Without: production goes to the previous version, and a
    second rollback further back along the promotions, never to what was left. ``to`` names any registered version.
    Raises NotFound, Conflict when there is no way back, or StandingChanged unless what serves is still what
    ``expected`` says: of two people who see the same incident one rolls back.
    """
    with writing(engine) as session:
        row = locked_prompt(session, tenant, prompt)
        who = f" by {actor}" if actor else ""
        undone: list[str] = []
        table: RoutingTable | None = None
        release = open_release_of(session, tenant, prompt)
        experiment = open_experiment_of(session, tenant, prompt)
        if expected is not None and expected != (found := _standing(row, release, experiment)):
            beside = f" beside a release of {found.candidate}" if found.candidate else ""
            beside += f" beside experiment {found.experiment}" if found.experiment else ""
            raise StandingChanged(f"{prompt} has changed meanwhile: {found.production or 'nothing'} serves{beside}")
        if release is not None:
            undone.append(f"release {release.id} of {release.version}")
            table = _move(
                session, clock, release, Stage.ROLLED_BACK, Step("rolled_back", f"rolled back by hand{who}", {})
            )
        if experiment is not None:
            undone.append(f"experiment {experiment.id}")
            table = _stop(session, clock, experiment, f"rolled back by hand{who}")
        is_open = release is not None or experiment is not None
        target = to or (row.production if is_open else row.previous)
        if not target and not is_open:
            hint = (
                f"'promptyard versions {prompt}' lists what there is; name one: promptyard rollback {prompt} VERSION."
            )
            raise Conflict(f"{prompt} has no earlier version in production to go back to", hint=hint)
        if target != row.production:
            known_version(session, tenant, prompt, target)
            undone.append(f"{prompt} {row.production} in production")
            if (promotion := last_promotion(session, tenant, prompt, row.production)) is not None:
                went = f"{prompt} went back to {target}{who}" if target else f"{prompt} went out of production{who}"
                add_step(session, clock, promotion, Step(LEFT, went, {}))
            before = version_before(session, tenant, prompt, target, leaving=row.production)
            _set_production(row, target, clock.now(), previous=before)
            session.flush()
            table = write_routing(session, clock)
        if table is None:
            raise Conflict(
                f"{prompt} {target} is in production already",
                hint=f"Name another version: promptyard rollback {prompt} VERSION.",
            )
        return target, " and ".join(undone), table


def acquire_lease(engine: Engine, clock: Clock, release_id: str, owner: str, seconds: float) -> ReleaseRow | None:
    """The release, held by ``owner`` for some seconds; None while somebody else holds it or once it is closed."""
    now = clock.now()
    with writing(engine) as session:
        row = session.get(ReleaseRow, release_id, with_for_update=True)
        if row is None or row.open_slot is None or (row.lease_until > now and row.lease_owner != owner):
            return None
        row.lease_owner, row.lease_until = owner, now + seconds
        return row


def release_lease(engine: Engine, release_id: str, owner: str) -> None:
    """Give a lease back; nothing happens when it is somebody else's by now."""
    with writing(engine) as session:
        row = session.get(ReleaseRow, release_id, with_for_update=True)
        if row is not None and row.lease_owner == owner:
            row.lease_owner, row.lease_until = "", 0.0


def set_mlflow_run(engine: Engine, release_id: str, run_id: str) -> None:
    """Note where the release's metrics are; not a transition."""
    with writing(engine) as session:
        session.get_one(ReleaseRow, release_id).mlflow_run = run_id


def find_release(engine: Engine, id_or_prefix: str) -> ReleaseRow:
    """By its id or how it begins. Raises NotFound, and Conflict where several begin so."""
    matches = ReleaseRow.id.startswith(id_or_prefix, autoescape=True)
    with reading(engine) as session:
        found = list(session.scalars(select(ReleaseRow).where(matches).order_by(ReleaseRow.id).limit(2)))
    if len(found) > 1 and id_or_prefix and found[0].id != id_or_prefix:
        raise Conflict(f"several releases begin with {id_or_prefix!r}", hint="Give more of the id.")
    return found[0] if found and id_or_prefix else get_release(engine, id_or_prefix)


def get_release(engine: Engine, release_id: str) -> ReleaseRow:
    """Raises NotFound."""
    with reading(engine) as session:
        row = session.get(ReleaseRow, release_id)
        if row is None:
            hint = "'promptyard versions NAME' lists the releases of a prompt."
            raise NotFound(f"there is no release {release_id}", hint=hint)
        return row


def open_releases(engine: Engine, stage: Stage | None = None) -> list[ReleaseRow]:
    """Open releases, oldest first."""
    query = select(ReleaseRow).where(ReleaseRow.open_slot.is_not(None)).order_by(ReleaseRow.opened_at)
    with reading(engine) as session:
        return list(session.scalars(query.where(ReleaseRow.stage == stage.value) if stage else query))


def releases_of(engine: Engine, tenant: str, prompt: str) -> list[ReleaseRow]:
    """All releases of a prompt, newest first."""
    with reading(engine) as session:
        return list(
            session.scalars(
                select(ReleaseRow)
                .where(ReleaseRow.tenant == tenant, ReleaseRow.prompt == prompt)
                .order_by(ReleaseRow.opened_at.desc())
            )
        )


def steps_of(engine: Engine, release_id: str) -> list[ReleaseStepRow]:
    """The steps of a release in order."""
    with reading(engine) as session:
        return list(
            session.scalars(
                select(ReleaseStepRow).where(ReleaseStepRow.release_id == release_id).order_by(ReleaseStepRow.seq)
            )
        )


# --- inside a transaction ----------------------------------------------------------------------------------------


def _standing(prompt: PromptRow, release: ReleaseRow | None, experiment: ExperimentRow | None) -> Standing:
    return Standing(
        prompt.production,
        release.id if release else "",
        release.version if release else "",
        experiment.id if experiment else "",
        tuple(arm["version"] for arm in experiment.arms) if experiment else (),
    )


def _stop(session: Session, clock: Clock, row: ExperimentRow, reason: str) -> RoutingTable:
    row.stage, row.reason = "stopped", reason
    row.ended_at = row.updated_at = clock.now()
    return write_routing(session, clock)


def _set_production(prompt: PromptRow, version: str, now: float, *, previous: str) -> None:
    if prompt.production != version:
        prompt.previous = previous
    prompt.production, prompt.updated_at = version, now
    prompt.revision += 1


def add_step(session: Session, clock: Clock, row: ReleaseRow, step: Step) -> None:
    """The release's next step; its row must be locked, so that two steps do not get one number."""
    last = session.scalar(select(func.max(ReleaseStepRow.seq)).where(ReleaseStepRow.release_id == row.id))
    session.add(
        ReleaseStepRow(
            release_id=row.id,
            seq=(last or 0) + 1,
            at=clock.now(),
            kind=step.kind,
            weight=row.weight,
            reason=step.reason,
            evidence=dict(step.evidence),
        )
    )
