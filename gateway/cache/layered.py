"""The answer cache as calls see it: a worker's own memory in front of Redis, or in its place, as each prompt chooses.

The memory saves the GET and nothing else: the epoch and the cuts are still read from the state Redis for each call, so
that a removal or a change of documents that was acknowledged holds for every worker at once. What is taken out is
judged by the same rule as an entry from Redis.

In its place no answer outlives a change of its collection's documents, whether or not it is concerned: whoever removes
the answers of a document sweeps Redis for them and changes the epoch, and must not find them proved true again here.

In front of Redis an answer is held from its first hit on, so that what is asked once takes no memory; and for
``local.ttl`` seconds at most, because an answer that was made anew by another worker is only seen in Redis.
"""

from collections.abc import AsyncIterator, Awaitable

from msgspec import structs

from gateway.cache import rules
from gateway.cache.exact import ExactCache, Lookup
from gateway.cache.inventory import Kept
from gateway.cache.keys import Scope, answer_key, entry_name
from gateway.cache.local import LocalEntries
from gateway.clock import Clock
from gateway.types import CachePlace, CachePolicy, Call, Candidate, Layer, Reply


class LayeredCache:
    """An AnswerCache of two layers. Safe to share within one event loop; raises as ``ExactCache`` does."""

    def __init__(self, exact: ExactCache, local: LocalEntries, clock: Clock) -> None:
        self.exact = exact
        self.local = local
        self._clock = clock

    def key(self, call: Call) -> str:
        return answer_key(call)

    def why_not_keep(self, call: Call, reply: Reply) -> str:
        """Empty, or why ``keep`` would not keep it, as far as call and reply tell."""
        return rules.why_not_keep(call, reply)

    def cuts(self, call: Call) -> Awaitable[str]:
        """As ``ExactCache.cuts``."""
        return self.exact.cuts(call)

    async def find(self, call: Call, epoch: Awaitable[str] | None = None) -> Lookup:
        """As ``ExactCache.find``; ``layer`` says who answered, ``local`` why the memory did not, if it was asked."""
        policy = rules.policy_of(call)
        alone = policy.place is CachePlace.PROCESS
        if not (alone or policy.local.on) or rules.why_not_read(call):
            return await self.exact.find(call, epoch)
        key = answer_key(call)
        name = entry_name(Scope.of(call), key)
        value = self.local.get(name)
        if value is None and not alone:
            return self._noted(name, policy, await self.exact.find(call, epoch, key=key), rules.MISS)
        cuts = self.exact.cuts(call)  # on their way while the epoch is
        known = call.epoch if epoch is None else await epoch
        found = self.exact.judge(call, key, value, known, await cuts)
        if found.reply is not None and (alone or found.reason == rules.HIT):
            return structs.replace(found, layer=Layer.LOCAL)
        if alone:
            if found.candidate is not None:
                self.local.remove(name)
            return structs.replace(found, layer=Layer.LOCAL, candidate=None)
        # Removed, changed or nearly over: Redis may have a newer one.
        self.local.remove(name)
        again = await self.exact.find(structs.replace(call, epoch=known), key=key)
        return self._noted(name, policy, again, found.reason)

    def _noted(self, name: str, policy: CachePolicy, found: Lookup, why_not_local: str) -> Lookup:
        if found.reason == rules.HIT:
            left = found.expires_at - self._clock.now()
            self.local.put(name, found.stored, min(left, policy.local.ttl))
        return structs.replace(found, local=why_not_local)

    async def keep(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> str:
        """As ``ExactCache.keep``; ``large`` for what the memory alone would have to hold and does not."""
        prepared = await self.exact.prepare(call, reply, kept_on)
        if isinstance(prepared, str):
            return prepared
        if rules.policy_of(call).place is CachePlace.PROCESS:
            return rules.KEPT if self.local.put(prepared.name, prepared.value, prepared.lifetime) else rules.LARGE
        self.local.remove(prepared.name)
        return await self.exact.store(prepared)

    async def last_good(self, call: Call) -> Candidate | None:
        """As ``ExactCache.last_good``."""
        policy = rules.policy_of(call)
        if policy.place is not CachePlace.PROCESS:
            return await self.exact.last_good(call)
        if policy.stale_for <= 0 or rules.why_never_shared(call):
            return None
        key = answer_key(call)
        return self.exact.stand_in(call, key, self.local.get(entry_name(Scope.of(call), key)))

    async def forget(self, tenant: str, prompt: str | None = None, version: str | None = None) -> int:
        """Of Redis. Memories are not counted: a cut reaches them (``cuts.py``), and they empty themselves."""
        return await self.exact.forget(tenant, prompt, version)

    def survey(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """Of Redis."""
        return self.exact.survey(tenant)

    async def drop(self, names: list[str]) -> int:
        """Of Redis."""
        return await self.exact.drop(names)
