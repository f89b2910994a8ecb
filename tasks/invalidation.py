"""What has no business in the answer cache any more, and the proof that what stays is true.

Nothing here makes an answer right: what is expired, unreadable or made from a document that has changed is never
served. Removing it gives the memory back before Redis evicts something useful for it. An answer from before a change
that does not concern its own documents stays: the next call finds out whether it is still true.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import Engine, select

from gateway.cache.epochs import UNKNOWN
from gateway.cache.inventory import Inventory, Kept
from gateway.cache.layered import LayeredCache
from gateway.clock import Clock
from gateway.compose import Gateway
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import PromptRow, ReleaseRow
from tasks.cache_scope import CacheScope
from tasks.llm import client
from tasks.provenance import LeastVersions, least_versions, outdated
from tasks.registration import engine_of
from tasks.step import step

BATCH = 200
PATIENCE = 1_800.0


class Reason(StrEnum):
    """Why an entry goes, in the words of the artifact."""

    ASKED = "asked for"
    UNREADABLE = "unreadable"
    EXPIRED = "expired"
    INACTIVE = "version is not active"
    ORPHANED = "its documents have changed"


Active = frozenset[tuple[str, str, str]]
"""(tenant, prompt, version) of what serves, may come to serve, or is what a rollback goes back to."""

CurrentEpochs = Mapping[tuple[str, str], str]
"""By (tenant, collection), read *after* the entries that are held against it; ``UNKNOWN`` while a change runs."""

Least = Mapping[tuple[str, str], LeastVersions]
"""By (tenant, collection), also read after the entries; an older reading removes less, never too much."""


def why_remove(entry: Kept, now: float, active: Active, epochs: CurrentEpochs, least: Least) -> Reason | None:
    """None for an entry that is of use. An entry of the current epoch is never orphaned: that would be a stale one."""
    if not entry.readable:
        return Reason.UNREADABLE
    if max(entry.expires_at, entry.aged_until) <= now:
        return Reason.EXPIRED
    of = entry.scope
    if of.prompt and (of.tenant, of.prompt, of.version) not in active:
        return Reason.INACTIVE
    place = of.tenant, entry.collection
    if entry.epoch in (epochs.get(place, UNKNOWN), UNKNOWN) or epochs.get(place, UNKNOWN) == UNKNOWN:
        return None
    return Reason.ORPHANED if outdated(entry.documents, entry.collection, least.get(place, {})) else None


@dataclass(frozen=True)
class Survey:
    """Entries and bytes by reason; ``stale``: what of the sample names a document version that is not current.

    ``questions``: of the semantic layer, forgotten with their prompt or tenant.
    """

    dry_run: bool
    seen: int = 0
    seen_bytes: int = 0
    entries: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    removed: int = 0
    probed: int = 0
    stale: Sequence[str] = ()
    questions: int = 0


@step("survey the cache")
def sweep(settings: Settings, clock: Clock, scope: CacheScope, *, dry_run: bool, probe: int, seed: int) -> Survey:
    """With a scope, everything in it goes; without, what is of no use. ``probe``: how many of the rest are checked.

    When it returns, no worker serves what was made before and is in the scope: first the scope's name gets another
    token, which every look into the cache holds entries against (``gateway/cache/cuts.py``), what is in flight and in
    a worker's own memory included; then its entries are swept away, for the memory. A document's answers are swept
    away first, and then its collection gets a new epoch.

    Raises StorageUnavailable when Redis or SQL do not answer; what was removed before that stays removed.
    """
    known = client(settings)
    work = _Sweep(known.gateway, engine_of(settings), clock, scope, dry_run, probe, random.Random(seed))  # noqa: S311
    return known.run(work.run(), patience=PATIENCE)


def active_versions(engine: Engine) -> Active:
    """In production, before that, and in any open release. Raises StorageUnavailable."""
    with reading(engine) as session:
        prompts = session.execute(
            select(PromptRow.tenant, PromptRow.name, PromptRow.production, PromptRow.previous)
        ).tuples()
        found = {(t, name, version) for t, name, *versions in prompts for version in versions if version}
        releases = select(ReleaseRow.tenant, ReleaseRow.prompt, ReleaseRow.version, ReleaseRow.baseline)
        for t, name, *versions in session.execute(releases.where(ReleaseRow.open_slot.is_not(None))).tuples():
            found |= {(t, name, version) for version in versions if version}
    return frozenset(found)


class _Sweep:
    """One pass in batches: the entries first, then what they are held against, so that nothing new looks old."""

    def __init__(
        self,
        gateway: Gateway,
        engine: Engine,
        clock: Clock,
        scope: CacheScope,
        dry_run: bool,
        probe: int,
        draw: random.Random,
    ) -> None:
        self._cache: LayeredCache = gateway.cache
        self._inventory = Inventory(gateway.cache_redis)
        self._epochs = gateway.epochs
        self._cuts = gateway.cuts
        self._engine = engine
        self._clock = clock
        self._scope = scope
        self._dry_run = dry_run
        self._probe = probe
        self._draw = draw
        self._entries: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._seen = self._seen_bytes = self._removed = self._candidates = 0
        self._sample: list[Kept] = []
        self._least: dict[tuple[str, str], LeastVersions] = {}

    async def run(self) -> Survey:
        scope = self._scope
        if not (self._dry_run or scope.everything or scope.document):
            await self._cuts.cut(scope.tenant, prompt=scope.prompt, version=scope.version, tag=scope.tag)
        survey = await self._swept()
        if scope.document and not self._dry_run:
            place = scope.tenant, scope.document.partition("/")[0]
            await self._epochs.publish(*place, await self._epochs.begin(*place))
        return replace(survey, questions=await self._forget_questions())

    async def _forget_questions(self) -> int:
        """They say what was asked, and point to answers: they go with a prompt or a tenant."""
        scope = self._scope
        if scope.everything or scope.document or scope.tag:
            return 0
        found = await self._inventory.questions(scope.tenant, scope.prompt or None, scope.version or None)
        if not self._dry_run:
            await self._inventory.drop_questions(list(found))
            if not scope.prompt:
                await self._inventory.forget_beneath(scope.tenant)
        return sum(found.values())

    async def _swept(self) -> Survey:
        batch: list[Kept] = []
        async for entry in self._cache.survey(self._scope.tenant or None):
            batch.append(entry)
            if len(batch) == BATCH:
                await self._hold_against(batch)
                batch = []
        await self._hold_against(batch)
        stale = await self._stale()
        if stale and not self._dry_run:
            self._removed += await self._cache.drop(sorted(stale))
        return Survey(
            dry_run=self._dry_run,
            seen=self._seen,
            seen_bytes=self._seen_bytes,
            entries=dict(self._entries),
            sizes=dict(self._sizes),
            removed=self._removed,
            probed=len(self._sample),
            stale=[f"{name}: {', '.join(documents)}" for name, documents in stale.items()],
        )

    async def _hold_against(self, batch: Sequence[Kept]) -> None:
        active = await asyncio.to_thread(active_versions, self._engine)
        places = {(entry.scope.tenant, entry.collection) for entry in batch if entry.collection}
        epochs = {place: await self._epochs.current(*place) for place in places}
        for place in places - set(self._least):
            self._least[place] = await asyncio.to_thread(least_versions, self._engine, *place)
        now = self._clock.now()
        gone: list[str] = []
        for entry in batch:
            self._seen += 1
            self._seen_bytes += entry.size
            useless = why_remove(entry, now, active, epochs, self._least)
            asked = not self._scope.everything and self._scope.holds(entry)
            reason = (Reason.ASKED if asked else None) if not self._scope.everything else useless
            if reason is not None:
                self._entries[reason] += 1
                self._sizes[reason] += entry.size
                gone.append(entry.name)
            elif useless is None and entry.collection:
                self._consider(entry, epochs[entry.scope.tenant, entry.collection])
        if gone and not self._dry_run:
            self._removed += await self._cache.drop(gone)

    def _consider(self, entry: Kept, epoch: str) -> None:
        """Reservoir sampling: every entry that is served as it is, is as likely to be in the sample."""
        if epoch == UNKNOWN or entry.epoch != epoch:
            return
        self._candidates += 1
        if len(self._sample) < self._probe:
            self._sample.append(entry)
        elif (place := self._draw.randrange(self._candidates)) < self._probe:
            self._sample[place] = entry

    async def _stale(self) -> dict[str, tuple[str, ...]]:
        """Sampled entries that would be served though these documents of theirs have changed: always none.

        SQL first, the epoch after: a change that was committed in between has replaced or hidden the epoch by then.
        """
        found: dict[str, tuple[str, ...]] = {}
        for place in sorted({(one.scope.tenant, one.collection) for one in self._sample}):
            least = await asyncio.to_thread(least_versions, self._engine, *place)
            epoch = await self._epochs.current(*place)
            for entry in self._sample:
                if (entry.scope.tenant, entry.collection) == place and entry.epoch == epoch:
                    found[entry.name] = outdated(entry.documents, entry.collection, least)
        return {name: documents for name, documents in found.items() if documents}
