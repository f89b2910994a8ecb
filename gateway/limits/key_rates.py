"""Requests and tokens a minute of one API key, in two windows that know nothing of each other.

With the state Redis down both let everything through: an outage of a counter is no reason to refuse a customer.
"""

import asyncio
from collections.abc import Awaitable
from functools import lru_cache, partial
from typing import Any

from msgspec import Struct

from gateway.limits.buckets import Bucket, Buckets, taken
from gateway.limits.metrics import LimitMetrics
from gateway.limits.rate_notices import RateNotices, slot, too_many
from gateway.limits.refusal import Refusal
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Call

REQUESTS = "key_requests"
TOKENS = "key_tokens"


class Tokens(Struct):
    """An estimate on its way into a key's window; ``busy`` says in which period it was taken, empty if it was not."""

    tenant: str
    key_id: str
    bucket: Bucket
    estimate: int
    busy: str = ""


class KeyRates:
    """Safe to share within one event loop. What ``start...`` returns is already under way."""

    def __init__(self, buckets: Buckets, notices: RateNotices, metrics: LimitMetrics) -> None:
        self._buckets = buckets
        self._notices = notices
        self._metrics = metrics

    def start_request(self, call: Call, limit: int) -> Awaitable[Any]:
        return self._buckets.take((_bucket(call.key_id, "requests", limit),), (1,), (1,))

    async def finish_request(self, call: Call, limit: int, started: Awaitable[Any]) -> Refusal | None:
        """None when the request was let in."""
        try:
            result = taken(await started)
        except REDIS_TROUBLE:
            self._metrics.unguarded(REQUESTS)
            return None
        if result.wait:
            return self._refused(REQUESTS, call.tenant, call.key_id, limit, result.wait)
        self._notices.used(REQUESTS, call.tenant, call.key_id, result.used[0], limit)
        return None

    def start_tokens(self, call: Call, limit: int, estimate: int) -> tuple[Tokens, Awaitable[Any]]:
        bucket = _bucket(call.key_id, "tokens", limit)
        return Tokens(call.tenant, call.key_id, bucket, estimate), self._buckets.take((bucket,), (estimate,), (0,))

    async def finish_tokens(self, tokens: Tokens, started: Awaitable[Any]) -> Refusal | None:
        """None when the estimate was let in; usage is told when it is known, not guessed."""
        try:
            result = taken(await started)
        except REDIS_TROUBLE:
            self._metrics.unguarded(TOKENS)
            return None
        if result.wait:
            return self._refused(TOKENS, tokens.tenant, tokens.key_id, tokens.bucket.limit, result.wait)
        tokens.busy = result.busy[0]
        return None

    def correct(self, tokens: Tokens, used: int) -> None:
        """Replace the estimate by what was used; only once. Nobody has to wait for it: the answer goes first."""
        estimate = tokens.estimate if tokens.busy else 0
        trip = self._buckets.correct((tokens.bucket,), (used - estimate,), (tokens.busy,), (used,), hurried=False)
        asyncio.ensure_future(trip).add_done_callback(partial(self._corrected, tokens))

    def _corrected(self, tokens: Tokens, trip: "asyncio.Future[Any]") -> None:
        if trip.cancelled():
            return
        trouble = trip.exception()
        if isinstance(trouble, REDIS_TROUBLE):
            self._metrics.unguarded(TOKENS)
        elif trouble is None:
            [used] = trip.result()
            self._notices.used(TOKENS, tokens.tenant, tokens.key_id, int(used), tokens.bucket.limit)

    def _refused(self, kind: str, tenant: str, key_id: str, limit: int, wait: float) -> Refusal:
        self._metrics.refused(kind)
        self._notices.refused(kind, tenant, key_id, limit)
        return Refusal(wait, too_many(f"{kind.rpartition('_')[2]} of this key", limit, wait))


@lru_cache(maxsize=4096)
def _bucket(key_id: str, what: str, limit: int) -> Bucket:
    return Bucket(f"py:{slot('rate', 'key', key_id)}:{what}", limit)
