"""The routing table as the SQL rows of prompts and releases say it: built in the transaction that changes them."""

import msgspec
from msgspec import structs
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from gateway.clock import Clock
from gateway.prompts.splits import BASIS
from gateway.storage.models import ExperimentRow, PromptRow, PromptVersionRow, ReleaseRow, RoutingRow
from gateway.storage.upsert import insert_missing
from gateway.types import CANARY, STABLE, Arm, Mirror, PromptVersion, Route, RoutingTable

CANARY_STAGE = "canary"
MIRROR_STAGE = "mirror"
OPEN_STAGE = "open"


def project_routes(session: Session) -> tuple[Route, ...]:
    """A route for each prompt that has a version in production, with the arms of its open canary or experiment."""
    releases = {
        (row.tenant, row.prompt): row
        for row in session.scalars(
            select(ReleaseRow).where(
                or_(ReleaseRow.stage == MIRROR_STAGE, and_(ReleaseRow.stage == CANARY_STAGE, ReleaseRow.weight > 0))
            )
        )
    }
    experiments = {
        (row.tenant, row.prompt): row
        for row in session.scalars(select(ExperimentRow).where(ExperimentRow.stage == OPEN_STAGE))
    }
    prompts = session.scalars(
        select(PromptRow).where(PromptRow.production != "").order_by(PromptRow.tenant, PromptRow.name)
    )
    return tuple(
        _route(session, row, releases.get((row.tenant, row.name)), experiments.get((row.tenant, row.name)))
        for row in prompts
    )


def _route(session: Session, prompt: PromptRow, release: ReleaseRow | None, experiment: ExperimentRow | None) -> Route:
    if release is None and experiment is not None and experiment.arms[0]["version"] == prompt.production:
        return _experiment(session, prompt, experiment)
    stable = _bundle(session, prompt, prompt.production)
    if release is None or release.version == prompt.production:
        return Route(tenant=prompt.tenant, prompt=prompt.name, arms=(Arm(STABLE, stable, BASIS),))
    canary = _bundle(session, prompt, release.version)
    if release.stage == MIRROR_STAGE:
        return Route(
            tenant=prompt.tenant,
            prompt=prompt.name,
            arms=(Arm(STABLE, stable, BASIS),),
            mirror=_mirror(canary, release),
        )
    return Route(
        tenant=prompt.tenant,
        prompt=prompt.name,
        arms=(Arm(STABLE, stable, BASIS - release.weight), Arm(CANARY, canary, release.weight)),
        release=release.id,
        salt=release.salt,
        evidence_share=int(release.policy.get("evidence_share_bp", BASIS)),
    )


def _mirror(candidate: PromptVersion, release: ReleaseRow) -> Mirror | None:
    """Calls of a release that only mirrors do not name it: no user of theirs has entered the canary."""
    policy = release.policy.get("canary", {}).get("mirror")
    if not policy:
        return None
    return Mirror(
        version=structs.replace(candidate, daily_budget_usd=float(policy["budget_usd"])),
        share=round(float(policy["share"]) * 100),
        release=release.id,
        salt=release.salt,
    )


def _experiment(session: Session, prompt: PromptRow, row: ExperimentRow) -> Route:
    """An excluded arm stays with weight 0, so that the weights of segments keep their places."""
    return Route(
        tenant=prompt.tenant,
        prompt=prompt.name,
        arms=tuple(
            Arm(STABLE if index == 0 else arm["version"], _bundle(session, prompt, arm["version"]), arm["weight"])
            for index, arm in enumerate(row.arms)
        ),
        salt=row.salt,
        evidence_share=round(float(row.spec.get("evidence_share", 1.0)) * BASIS),
        experiment=row.id,
        policy=row.policy,
        context_keys=tuple(row.spec.get("context_keys", ())),
        segments={name: tuple(weights) for name, weights in row.segments.items()},
        fall_back=bool(row.spec.get("fall_back", False)),
        epoch=row.epoch,
    )


def _bundle(session: Session, prompt: PromptRow, version: str) -> PromptVersion:
    row = session.get_one(PromptVersionRow, (prompt.tenant, prompt.name, version))
    return msgspec.convert(row.bundle, PromptVersion)


def write_routing(session: Session, clock: Clock) -> RoutingTable:
    """Project the table anew, in the caller's transaction, and push it once that has committed.

    The revision grows only when a route has changed. It is at least the time in seconds: a new database beside a Redis
    that knows the revisions of an old one must not be taken for the older of the two.
    """
    session.flush()
    # The row is there to be locked before the first table is: two first promotions at once must not collide.
    nothing = {"id": 1, "revision": 0, "body": msgspec.to_builtins(RoutingTable()), "published_at": 0.0}
    insert_missing(session, RoutingRow, [nothing])
    row = session.get_one(RoutingRow, 1, with_for_update=True)
    known = msgspec.convert(row.body, RoutingTable)
    routes = project_routes(session)
    if known.revision and known.routes == routes:
        return known
    table = RoutingTable(revision=max(row.revision + 1, int(clock.now())), routes=routes, published_at=clock.now())
    row.revision, row.body, row.published_at = table.revision, msgspec.to_builtins(table), table.published_at
    return table


def read_routing(session: Session) -> RoutingTable | None:
    """The last table that was written, or None before the first."""
    row = session.get(RoutingRow, 1)
    return msgspec.convert(row.body, RoutingTable) if row else None
