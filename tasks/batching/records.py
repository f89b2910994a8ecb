"""What SQL remembers of batches: one that was submitted is collected and never submitted again, whoever dies.

A record is written before its batch is submitted, and stands until its answers are kept. Raises StorageUnavailable.
"""

from collections.abc import Sequence
from hashlib import sha256

from sqlalchemy import CursorResult, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import ProviderBatchRow
from gateway.types import ModelRef

SUBMITTING, SUBMITTED, COLLECTED, ABANDONED = "submitting", "submitted", "collected", "abandoned"
LEASE_SECONDS = 300.0
"""Longer than every call of a submission may take together."""
KEPT_BY_PROVIDERS = 28 * 86_400.0
"""Seconds for which results can be had: Anthropic keeps them for 29 days, OpenAI's files stay longer."""


def record_id(tenant: str, ref: ModelRef, items: Sequence[str]) -> str:
    """The same for the same requests to the same model."""
    return sha256("\n".join((tenant, str(ref), *sorted(items))).encode()).hexdigest()


def open_batches(engine: Engine, clock: Clock, tenant: str, ref: ModelRef) -> list[ProviderBatchRow]:
    """Those that are under way, or whose answers were not all kept, oldest first."""
    row = ProviderBatchRow
    with reading(engine) as session:
        found = session.scalars(
            select(row)
            .where(row.tenant == tenant, row.provider == ref.provider, row.model == ref.model)
            .where(row.state.in_((SUBMITTING, SUBMITTED)), row.created_at > clock.now() - KEPT_BY_PROVIDERS)
            .order_by(row.created_at, row.id)
        )
        return list(found)


def claim(
    engine: Engine, clock: Clock, tenant: str, ref: ModelRef, items: Sequence[str], owner: str
) -> tuple[ProviderBatchRow, bool]:
    """The record of these items, and whether the owner is the one to submit it: of several at once, one is."""
    identity, now, row = record_id(tenant, ref, items), clock.now(), ProviderBatchRow
    fresh = {
        "state": SUBMITTING,
        "provider_batch": "",
        "owner": owner,
        "lease_until": now + LEASE_SECONDS,
        "created_at": now,
    }
    whole = {"id": identity, "tenant": tenant, "provider": ref.provider, "model": ref.model, "items": list(items)}
    with writing(engine) as session:
        insert = sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert
        new = insert(row).values(whole | fresh).on_conflict_do_nothing().returning(row.id)
        mine = session.execute(new).scalar_one_or_none() is not None
        if not mine:  # the same was asked before, and what it answered is not kept any more
            done = row.state.in_((COLLECTED, ABANDONED))
            again = session.execute(update(row).where(row.id == identity, done).values(fresh))
            mine = isinstance(again, CursorResult) and again.rowcount == 1
        return session.get_one(row, identity, populate_existing=True), mine


def take_over(engine: Engine, clock: Clock, identity: str, owner: str) -> bool:
    """Whether the owner may now find out what became of a submission whose own owner's lease has ended."""
    row, now = ProviderBatchRow, clock.now()
    with writing(engine) as session:
        changed = session.execute(
            update(row)
            .where(row.id == identity, row.state == SUBMITTING, row.lease_until <= now)
            .values(owner=owner, lease_until=now + LEASE_SECONDS)
        )
        return isinstance(changed, CursorResult) and changed.rowcount == 1


def find(engine: Engine, identity: str) -> ProviderBatchRow:
    with reading(engine) as session:
        return session.get_one(ProviderBatchRow, identity)


def known_to_providers(engine: Engine, provider: str) -> frozenset[str]:
    """Every name that a batch of this provider is known by."""
    row = ProviderBatchRow
    with reading(engine) as session:
        named = select(row.provider_batch).where(row.provider == provider, row.provider_batch != "")
        return frozenset(session.scalars(named))


def note(engine: Engine, identity: str, state: str, *, provider_batch: str | None = None) -> None:
    """What became of it."""
    values = {"state": state} if provider_batch is None else {"state": state, "provider_batch": provider_batch}
    with writing(engine) as session:
        session.execute(update(ProviderBatchRow).where(ProviderBatchRow.id == identity).values(values))
