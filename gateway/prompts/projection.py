"""The routing table as the SQL rows of prompts and releases say it: built in the transaction that changes them."""

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.clock import Clock
from gateway.prompts.router import BASIS
from gateway.storage.models import PromptRow, PromptVersionRow, ReleaseRow, RoutingRow
from gateway.types import CANARY, STABLE, Arm, PromptVersion, Route, RoutingTable

CANARY_STAGE = "canary"


def project_routes(session: Session) -> tuple[Route, ...]:
    """A route for each prompt that has a version in production, with the arm of its open canary if there is one."""
    releases = {
        (row.tenant, row.prompt): row
        for row in session.scalars(select(ReleaseRow).where(ReleaseRow.stage == CANARY_STAGE, ReleaseRow.weight > 0))
    }
    prompts = session.scalars(
        select(PromptRow).where(PromptRow.production != "").order_by(PromptRow.tenant, PromptRow.name)
    )
    return tuple(_route(session, row, releases.get((row.tenant, row.name))) for row in prompts)


def _route(session: Session, prompt: PromptRow, release: ReleaseRow | None) -> Route:
    stable = _bundle(session, prompt, prompt.production)
    if release is None or release.version == prompt.production:
        return Route(tenant=prompt.tenant, prompt=prompt.name, arms=(Arm(STABLE, stable, BASIS),))
    canary = _bundle(session, prompt, release.version)
    return Route(
        tenant=prompt.tenant,
        prompt=prompt.name,
        arms=(Arm(STABLE, stable, BASIS - release.weight), Arm(CANARY, canary, release.weight)),
        release=release.id,
        salt=release.salt,
        evidence_share=int(release.policy.get("evidence_share_bp", BASIS)),
    )


def _bundle(session: Session, prompt: PromptRow, version: str) -> PromptVersion:
    row = session.get_one(PromptVersionRow, (prompt.tenant, prompt.name, version))
    return msgspec.convert(row.bundle, PromptVersion)


def write_routing(session: Session, clock: Clock) -> RoutingTable:
    """Project the table anew, in the caller's transaction, and push it once that has committed.

    The revision grows only when a route has changed.
    """
    row = session.get(RoutingRow, 1, with_for_update=True)
    session.flush()
    routes = project_routes(session)
    known = msgspec.convert(row.body, RoutingTable) if row else None
    if known is not None and known.routes == routes:
        return known
    revision = (row.revision if row else 0) + 1
    table = RoutingTable(revision=revision, routes=routes, published_at=clock.now())
    body = msgspec.to_builtins(table)
    if row is None:
        session.add(RoutingRow(id=1, revision=revision, body=body, published_at=table.published_at))
    else:
        row.revision, row.body, row.published_at = revision, body, table.published_at
    return table


def read_routing(session: Session) -> RoutingTable | None:
    """The last table that was written, or None before the first."""
    row = session.get(RoutingRow, 1)
    return msgspec.convert(row.body, RoutingTable) if row else None
