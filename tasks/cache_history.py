"""What probes of the cache found and how its memory went: a page shows one run, the ledger all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, delete, func, select

from gateway.cache.memory import RedisMemory
from gateway.clock import Clock, new_id
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import CacheMemoryRow, CacheProbeRow
from tasks.registration import engine_of
from tasks.step import step

KEPT_FOR = 180 * 86_400.0
MOST_NAMED = 50
MOST_POINTS = 2_000


@dataclass(frozen=True)
class Incidents:
    """Probes in a window: how many answers they looked at, and what those of them name that found something stale."""

    probes: int = 0
    probed: int = 0
    found: int = 0
    """Probes that found something stale."""
    stale: Sequence[str] = ()
    """The newest ones."""


@dataclass(frozen=True)
class MemoryPoint:
    """Bytes; ``maximum`` 0: there is none."""

    at: float
    used: int
    maximum: int
    evicted: int


@step("note what a probe found")
def note_probe(
    settings: Settings, clock: Clock, source: str, tenant: str, collection: str, probed: int, stale: Sequence[str]
) -> None:
    """Nothing is noted of a probe that looked at nothing. Raises StorageUnavailable."""
    if not probed:
        return
    now = clock.now()
    with writing(engine_of(settings)) as session:
        session.add(
            CacheProbeRow(
                id=new_id("probe", clock),
                at=now,
                source=source,
                tenant=tenant,
                collection=collection,
                probed=probed,
                stale=list(stale[:MOST_NAMED]),
            )
        )
        session.execute(delete(CacheProbeRow).where(CacheProbeRow.at < now - KEPT_FOR))


@step("note the cache's memory")
def note_memory(settings: Settings, clock: Clock, memory: RedisMemory) -> None:
    """Raises StorageUnavailable."""
    now = clock.now()
    with writing(engine_of(settings)) as session:
        session.add(
            CacheMemoryRow(
                id=new_id("mem", clock), at=now, used=memory.used, maximum=memory.limit, evicted=memory.evicted
            )
        )
        session.execute(delete(CacheMemoryRow).where(CacheMemoryRow.at < now - KEPT_FOR))


def incidents(engine: Engine, since: float, until: float) -> Incidents:
    """Raises StorageUnavailable."""
    mine = (CacheProbeRow.at >= since, CacheProbeRow.at <= until)
    with reading(engine) as session:
        probes, probed = session.execute(
            select(func.count(), func.coalesce(func.sum(CacheProbeRow.probed), 0)).where(*mine)
        ).one()
        rows = session.scalars(select(CacheProbeRow).where(*mine).order_by(CacheProbeRow.at.desc()).limit(MOST_POINTS))
        bad = [row.stale for row in rows if row.stale]
    return Incidents(probes, int(probed), len(bad), [name for names in bad for name in names][:MOST_NAMED])


def memory_points(engine: Engine, since: float, until: float) -> list[MemoryPoint]:
    """The newest ``MOST_POINTS``, oldest first. Raises StorageUnavailable."""
    query = (
        select(CacheMemoryRow)
        .where(CacheMemoryRow.at >= since, CacheMemoryRow.at <= until)
        .order_by(CacheMemoryRow.at.desc())
        .limit(MOST_POINTS)
    )
    with reading(engine) as session:
        rows = list(session.scalars(query))
    return [MemoryPoint(row.at, row.used, row.maximum, row.evicted) for row in reversed(rows)]
