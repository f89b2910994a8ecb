"""The exact layer: the same call gets the same answer, for as long as that answer is true.

Freshness rests on one comparison: an entry carries the epoch that its collection had when its call *began*, before any
document was read, and is served only while that epoch is current. The check at the write is thrift; the one at the
read is what makes it safe, also for an answer that was written late.
"""

import random
from collections.abc import AsyncIterator, Awaitable
from typing import Protocol

from msgspec import Struct, structs
from redis.asyncio import Redis

from gateway.cache import rules
from gateway.cache.entry import Entry, decode, encode
from gateway.cache.inventory import Inventory, Kept
from gateway.cache.keys import Scope, answer_key, entry_name
from gateway.clock import Clock
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Call, Candidate, Reply

FALLBACK_TTL = 60.0
"""Seconds at most that an answer of a fallback is kept: the first choice of the chain will be back."""


class EpochReader(Protocol):
    """Never raises; empty while the epoch is unknown."""

    async def current(self, tenant: str, collection: str) -> str: ...


class Lookup(Struct, frozen=True):
    """What a look into the cache says. ``reason`` is ``hit`` or why there is no reply (see ``rules``).

    ``epoch`` is what the look was made under: the call goes on with it.
    """

    reply: Reply | None
    reason: str
    epoch: str = ""
    candidate: Candidate | None = None
    """With reason ``epoch``: the answer from before the change, for who can tell whether the change concerns it."""


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
        line: RedisLine | None = None,
    ) -> None:
        self._line = line or RedisLine(redis, timeout=timeout)
        self._epochs = epochs
        self._clock = clock
        self._entropy = entropy
        self._inventory = Inventory(redis)

    def key(self, call: Call) -> str:
        """The call's answer key: see ``keys.answer_key``."""
        return answer_key(call)

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> Lookup:
        """The kept answer of a routed call, if it is still true. One GET, none if it may not be served anyway.

        The collection's epoch is ``call.epoch``, or what ``epoch`` brings, which is awaited together with the GET.
        """
        reason = rules.why_not_read(call)
        if epoch is None and call.collection and not call.epoch:
            reason = reason or rules.EPOCH
        if reason:
            return Lookup(None, reason, call.epoch if epoch is None else await epoch)
        key = answer_key(call)
        asked = self._line.ask("GET", entry_name(Scope.of(call), key))  # on its way while the epoch is
        known = call.epoch if epoch is None else await epoch
        try:
            stored = await asked
        except REDIS_TROUBLE:
            return Lookup(None, rules.UNAVAILABLE if known or not call.collection else rules.EPOCH, known)
        if call.collection and not known:
            return Lookup(None, rules.EPOCH, known)
        if stored is None:
            return Lookup(None, rules.MISS, known)
        entry = decode(stored)
        if entry is None or entry.key != key or entry.tenant != call.tenant:
            return Lookup(None, rules.MISS, known)
        if entry.expires_at <= self._clock.now():
            return Lookup(None, rules.EXPIRED, known)
        if call.collection and entry.epoch != known:
            candidate = Candidate(reply=entry.reply, grounding=entry.grounding, expires_at=entry.expires_at)
            return Lookup(None, rules.EPOCH, known, candidate)
        return Lookup(entry.reply, rules.HIT, known)

    async def last_good(self, call: Call) -> Candidate | None:
        """The kept answer, past its TTL or not, if the prompt's policy lets it stand in for providers that are down.

        Whether it is past its provenance is for the caller to check.
        """
        policy = rules.policy_of(call)
        if policy.stale_for <= 0 or rules.why_never_shared(call):
            return None
        key = answer_key(call)
        try:
            stored = await self._line.ask("GET", entry_name(Scope.of(call), key))
        except REDIS_TROUBLE:
            return None
        entry = decode(stored) if stored is not None else None
        if entry is None or entry.key != key or entry.tenant != call.tenant:
            return None
        if entry.expires_at + policy.stale_for <= self._clock.now():
            return None
        return Candidate(reply=entry.reply, grounding=entry.grounding, expires_at=entry.expires_at, epoch=entry.epoch)

    async def keep(self, call: Call, reply: Reply, expires_at: float | None = None) -> str:
        """Keep the answer of a call that carries the epoch it began under. Returns ``kept`` or why not.

        ``expires_at`` is that of a candidate which is kept on: a change of documents makes no answer younger.
        ``epoch`` says that the documents have changed since: the answer is of the old corpus.
        """
        if reason := rules.why_not_keep(call, reply):
            return reason
        if call.collection and await self._epochs.current(call.tenant, call.collection) != call.epoch:
            return rules.EPOCH
        entry = self._entry(call, reply, expires_at)
        try:
            value = encode(entry)
        except (TypeError, ValueError, OverflowError):
            return rules.UNENCODABLE  # a lone surrogate, an integer of more than 64 bits: rare, and not worth a format
        lifetime = entry.expires_at - entry.created_at + max(0.0, rules.policy_of(call).stale_for)
        lifetime_ms = max(1, int(lifetime * 1000))
        try:
            await self._line.ask("SET", entry_name(Scope.of(call), entry.key), value, "PX", lifetime_ms)
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

    def _entry(self, call: Call, reply: Reply, expires_at: float | None) -> Entry:
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
            created_at=now,
            expires_at=now + ttl if expires_at is None else expires_at,
            variables=call.variables,
            messages=call.messages,
            reply=structs.replace(reply, attempts=()),
        )
