"""The seal of a closed release: its last link, after which nothing of it may change unseen.

It waits until calls that were under way at the verdict have reached the ledger, and takes them in as calls that no
decision rests on; what turns up after it was added by somebody.
"""

from sqlalchemy import Engine, select

from gateway.clock import Clock
from gateway.ledger.mirrored import mirrored_pairs
from gateway.ledger.queries import release_calls
from gateway.storage.engine import reading, writing
from gateway.storage.models import ReleaseLookRow, ReleaseRow, ReleaseStepRow
from tasks.releases.looks import SEALED, add_seal, release_digest, step_digest
from tasks.releases.reconcile import SCORE_SOURCES

PATIENCE = 600.0
"""Seconds after the verdict: the longest call is over, and a spool that was behind has caught up."""
HORIZON = 30 * 86_400.0


def seal_closed(engine: Engine, clock: Clock) -> list[str]:
    """Seal every closed release that is due; returns their ids. Idempotent."""
    return [release_id for release_id in _due(engine, clock.now()) if _seal(engine, clock, release_id)]


def _due(engine: Engine, now: float) -> list[str]:
    sealed = select(ReleaseLookRow.release_id).where(ReleaseLookRow.kind == SEALED)
    query = (
        select(ReleaseRow.id)
        .where(ReleaseRow.closed_at.is_not(None), ReleaseRow.closed_at.between(now - HORIZON, now - PATIENCE))
        .where(ReleaseRow.id.not_in(sealed))
        .order_by(ReleaseRow.closed_at)
    )
    with reading(engine) as session:
        return list(session.scalars(query))


def _seal(engine: Engine, clock: Clock, release_id: str) -> bool:
    calls = release_calls(engine, release_id, sources=SCORE_SOURCES)
    pairs = mirrored_pairs(engine, release_id)
    with writing(engine) as session:
        release = session.get_one(ReleaseRow, release_id, with_for_update=True)
        known = select(ReleaseLookRow.seq).where(ReleaseLookRow.release_id == release_id, ReleaseLookRow.kind == SEALED)
        if session.scalars(known).first() is not None:
            return False
        steps = select(ReleaseStepRow).where(ReleaseStepRow.release_id == release_id).order_by(ReleaseStepRow.seq)
        facts = {
            "steps": {str(step.seq): step_digest(step) for step in session.scalars(steps)},
            "release": release_digest(release),
            "pairs": sorted(pair.id for pair in pairs),
        }
        add_seal(session, release, clock.now(), calls, facts)
    return True
