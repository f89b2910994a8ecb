"""The exact layer: the same call gets the same answer, for as long as that answer is true.

Freshness rests on one comparison: an entry carries the epoch that its collection had when its call *began*, before any
document was read, and is served only while that epoch is current. The check at the write is thrift; the one at the
read is what makes it safe, also for an answer that was written late. Removal by name works the same way: an entry
carries the *cuts* that its call began under (``cuts.py``).
"""

import random
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Protocol

from msgspec import Struct, structs
from redis.asyncio import Redis

from gateway.cache import rules
from gateway.cache.entry import Entry, decode, encode
from gateway.cache.inventory import Inventory, Kept
from gateway.cache.keys import Scope, answer_key, entry_name
from gateway.clock import Clock
from gateway.storage.line import Line, line_for
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Call, Candidate, Layer, Reply

FALLBACK_TTL = 60.0
"""Seconds at most that an answer of a fallback is kept: the first choice of the chain will be back."""


class EpochReader(Protocol):
    """Never raises; empty while the epoch is unknown."""

    async def current(self, tenant: str, collection: str) -> str: ...


class CutReader(Protocol):
    """Asked for when ``current`` returns. Never raises; empty while the cuts are unknown."""

    def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> Awaitable[str]: ...


class Lookup(Struct, frozen=True):
    """What a look into the cache says. ``reason`` is ``hit``, that the reply is being made anew, or why there is none
    (see ``rules``).

    ``epoch`` and ``cuts`` are what the look was made under: the call goes on with them.
    """

    reply: Reply | None
    reason: str
    epoch: str = ""
    cuts: str = ""
    candidate: Candidate | None = None
    """With reason ``epoch``: the answer from before the change, for who can tell whether the change concerns it."""
    layer: Layer = Layer.EXACT
    """Who says so: this layer, or the process's own memory (``layered``)."""
    expires_at: float = 0.0
    """Of a reply."""
    local: str = ""
    """Why the process's own memory did not answer; empty where it was not asked, or did."""
    stored: bytes = b""
    """The entry of a hit as Redis has it."""


class Prepared(Struct, frozen=True):
    """An entry that may be kept: under which name, as what, for how many seconds."""

    name: str
    key: str
    value: bytes
    lifetime: float


class ExactCache:
    """Answers in the cache Redis. Trouble with Redis is a miss, within ``timeout`` seconds; nothing here raises,
    except ``forget``, ``survey`` and ``drop``. Safe to share within one event loop.
    """

    def __init__(
        self,
        redis: Redis,
        epochs: EpochReader,
        *,
        clock: Clock,
        entropy: random.Random,
        timeout: float,
        line: Line | None = None,
        cuts: CutReader | None = None,
    ) -> None:
        """Without ``cuts`` nothing can be removed by name but by going through it."""
        self._line = line or line_for(redis, timeout=timeout)
        self._epochs = epochs
        self._cuts = cuts
        self._clock = clock
        self._entropy = entropy
        self._inventory = Inventory(redis)

    def key(self, call: Call) -> str:
        """The call's answer key: see ``keys.answer_key``."""
        return answer_key(call)

    async def find(self, call: Call, epoch: Awaitable[str] | None = None, *, key: str = "") -> Lookup:
        """The kept answer of a routed call, if it is still true. One GET, none if it may not be served anyway.

        The collection's epoch is ``call.epoch``, or what ``epoch`` brings, which is awaited together with the GET.
        ``key`` is the call's, if it is known already.
        """
        cuts = self.cuts(call)  # on their way while the rest is
        reason = rules.why_not_read(call)
        if epoch is None and call.collection and not call.epoch:
            reason = reason or rules.EPOCH
        if reason:
            known = call.epoch if epoch is None else await epoch
            return Lookup(None, reason, known, await cuts)
        key = key or answer_key(call)
        asked = self._line.ask("GET", entry_name(Scope.of(call), key))
        known = call.epoch if epoch is None else await epoch
        standing = await cuts
        try:
            stored = await asked
        except REDIS_TROUBLE:
            trouble = rules.UNAVAILABLE if known or not call.collection else rules.EPOCH
            return Lookup(None, trouble, known, standing)
        return self.judge(call, key, stored, known, standing)

    def judge(self, call: Call, key: str, stored: bytes | None, epoch: str, cuts: str) -> Lookup:
        """What is to be said of what is stored under the call's key, under the epoch and the cuts of now."""
        if (call.collection and not epoch) or not self._known(cuts):
            return Lookup(None, rules.EPOCH, epoch, cuts)
        entry = self._read(stored, key, call)
        if stored is None or entry is None:
            return Lookup(None, rules.MISS, epoch, cuts)
        if entry.cuts != cuts:
            return Lookup(None, rules.REMOVED, epoch, cuts)
        age = rules.age(
            now=self._clock.now(),
            expires_at=entry.expires_at,
            aged_until=entry.aged_until,
            made_in=entry.made_in,
            beta=rules.policy_of(call).early_refresh,
            draw=1.0 - self._entropy.random(),
        )
        if age == rules.EXPIRED:
            return Lookup(None, age, epoch, cuts)
        if call.collection and entry.epoch != epoch:
            # What only ages is served on without a question; what may have changed as well is not.
            if age == rules.AGED:
                return Lookup(None, rules.EXPIRED, epoch, cuts)
            return Lookup(None, rules.EPOCH, epoch, cuts, _candidate(entry))
        return Lookup(entry.reply, age, epoch, cuts, expires_at=entry.expires_at, stored=stored)

    async def last_good(self, call: Call) -> Candidate | None:
        """The kept answer, past its TTL or not, if the prompt's policy lets it stand in for providers that are down.

        Whether it is past its provenance is for the caller to check.
        """
        if rules.policy_of(call).stale_for <= 0 or rules.why_never_shared(call):
            return None
        key = answer_key(call)
        try:
            stored = await self._line.ask("GET", entry_name(Scope.of(call), key))
        except REDIS_TROUBLE:
            return None
        return self.stand_in(call, key, stored)

    def stand_in(self, call: Call, key: str, stored: bytes | None) -> Candidate | None:
        """What is stored under the call's key, if the prompt's ``stale_for`` is not over yet."""
        entry = self._read(stored, key, call)
        if entry is None or entry.cuts != call.cuts or not self._known(call.cuts):
            return None
        if entry.expires_at + rules.policy_of(call).stale_for <= self._clock.now():
            return None
        return _candidate(entry)

    async def keep(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> str:
        """Keep the answer of a call that carries the epoch and the cuts it began under. Returns ``kept`` or why not.

        ``kept_on`` is the candidate that turned out to be true: a change of documents makes no answer younger.
        ``epoch`` says that the documents have changed since: the answer is of the old corpus.
        """
        prepared = await self.prepare(call, reply, kept_on)
        return prepared if isinstance(prepared, str) else await self.store(prepared)

    async def prepare(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> Prepared | str:
        """What ``keep`` would store, or why it would not."""
        if reason := rules.why_not_keep(call, reply):
            return reason
        if not self._known(call.cuts):
            return rules.EPOCH
        if call.collection and await self._epochs.current(call.tenant, call.collection) != call.epoch:
            return rules.EPOCH
        entry = self._entry(call, reply, kept_on)
        try:
            value = encode(entry)
        except (TypeError, ValueError, OverflowError):
            return rules.UNENCODABLE  # a lone surrogate, an integer of more than 64 bits: rare, and not worth a format
        last = max(entry.expires_at + max(0.0, rules.policy_of(call).stale_for), entry.aged_until)
        return Prepared(entry_name(Scope.of(call), entry.key), entry.key, value, last - entry.created_at)

    async def store(self, prepared: Prepared) -> str:
        """``kept`` or why not."""
        lifetime_ms = max(1, int(prepared.lifetime * 1000))
        try:
            await self._line.ask("SET", prepared.name, prepared.value, "PX", lifetime_ms)
        except REDIS_TROUBLE:
            return rules.UNAVAILABLE
        return rules.KEPT

    async def forget(self, tenant: str, prompt: str | None = None, version: str | None = None) -> int:
        """Remove the entries of a tenant, a prompt or a version; returns how many. Raises StorageUnavailable."""
        return await self._inventory.forget(tenant, prompt, version)

    def survey(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """What is kept, without the answers, in no order. Raises StorageUnavailable."""
        return self._inventory.survey(tenant)

    async def drop(self, names: list[str]) -> int:
        """Remove entries by the names that ``survey`` gave; returns how many. Raises StorageUnavailable."""
        return await self._inventory.drop(names)

    def cuts(self, call: Call) -> Awaitable[str]:
        """The token of removals by name that concern the call: asked for when this returns, empty while unknown."""
        if self._cuts is None:
            return _nothing()
        version = call.version
        if version is None:
            return self._cuts.current(call.tenant)
        return self._cuts.current(call.tenant, version.name, version.version, version.cache.tags)

    def _known(self, cuts: str) -> bool:
        return self._cuts is None or bool(cuts)

    def _read(self, stored: bytes | None, key: str, call: Call) -> Entry | None:
        entry = decode(stored) if stored is not None else None
        return None if entry is None or entry.key != key or entry.tenant != call.tenant else entry

    def _entry(self, call: Call, reply: Reply, kept_on: Candidate | None) -> Entry:
        policy = rules.policy_of(call)
        ttl = min(policy.ttl, FALLBACK_TTL) if reply.fell_back else policy.ttl
        # Downwards, so that the declared TTL is the longest; spread, so that what was warmed together ends apart.
        ttl *= 1 - min(max(policy.jitter, 0.0), 1.0) * self._entropy.random()
        now = self._clock.now()
        return Entry(
            key=answer_key(call),
            tenant=call.tenant,
            prompt=call.version.name if call.version else "",
            version=call.version.version if call.version else "",
            collection=call.collection,
            epoch=call.epoch,
            grounding=call.grounding,
            cuts=call.cuts,
            tags=policy.tags,
            created_at=now,
            expires_at=kept_on.expires_at if kept_on else now + ttl,
            aged_until=kept_on.aged_until if kept_on else now + ttl + rules.aged_for(call, reply),
            made_in=kept_on.made_in if kept_on else sum(one.latency_ms for one in reply.attempts) / 1000,
            variables=call.variables,
            messages=call.messages,
            reply=structs.replace(reply, attempts=()),
        )


async def _nothing() -> str:
    return ""


def _candidate(entry: Entry) -> Candidate:
    return Candidate(
        reply=entry.reply,
        grounding=entry.grounding,
        expires_at=entry.expires_at,
        epoch=entry.epoch,
        aged_until=entry.aged_until,
        made_in=entry.made_in,
    )
