"""From a request's headers to a Principal, without SQL on the hot path."""

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from msgspec import Struct, convert
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.auth.keys import PREFIX, hash_key
from gateway.clock import Clock
from gateway.errors import Forbidden, Overloaded, StorageUnavailable, Unauthenticated
from gateway.storage.engine import reading
from gateway.storage.models import ApiKeyRow
from gateway.types import NO_LIMITS, KeyLimits, Principal

_LONGEST_KEY = 200
_MOST_KNOWN = 10_000
_MOST_REFUSED = 1_000
_MOST_LOOKUPS = 256
_LONGEST_REFUSAL = 1.0
_V = TypeVar("_V")


class _Known(Struct):
    principal: Principal
    checked_at: float


class Authenticator:
    """Trusts a checked key for ``ttl`` seconds, then looks again: a revocation is obeyed after ``ttl`` at the latest.

    While SQL is down, or takes longer than ``lookup_timeout`` seconds, keys that were valid go on and unknown ones get
    StorageUnavailable. Keys are found by their hash, so that timing tells nothing of a key. All memory is bounded.
    """

    def __init__(self, engine: Engine, clock: Clock, ttl: float, *, lookup_timeout: float = 1.0) -> None:
        self._engine = engine
        self._clock = clock
        self._ttl = ttl
        self._lookup_timeout = lookup_timeout
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[Principal | None]] = {}
        self._threads = ThreadPoolExecutor(
            2, thread_name_prefix="authenticator"
        )  # a hung SQL must not take everybody's

    async def authenticate(self, authorization: str | None, x_api_key: str | None = None) -> Principal:
        """``Authorization: Bearer <key>`` wins over ``x-api-key``.

        Raises Unauthenticated; StorageUnavailable (503) when an unknown key cannot be checked; Overloaded when too many
        unknown keys wait for SQL.
        """
        digest = hash_key(_key_of(authorization, x_api_key))
        known = self._known.get(digest)
        now = self._clock.monotonic()
        if known and now - known.checked_at < self._ttl:
            return known.principal
        if self._refused.get(digest, 0.0) > now:
            raise _refusal()
        try:
            principal = await self._look_up(digest)
        except (StorageUnavailable, Overloaded):
            if known is None:
                raise
            known.checked_at = now  # so that an outage does not put its time-out on every call
            return known.principal
        if principal is None:
            raise _refusal()
        return principal

    async def aclose(self) -> None:
        """Forget pending look-ups."""
        for task in self._lookups.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, digest: str) -> Principal | None:
        """One at a time per key, whoever asks; a caller that goes away does not end it for the others."""
        task = self._lookups.get(digest)
        if task is None:
            if len(self._lookups) >= _MOST_LOOKUPS:
                raise Overloaded("too many keys are being checked", retry_after=1.0)
            task = asyncio.create_task(self._check(digest))
            self._lookups[digest] = task
            task.add_done_callback(lambda done: self._finished(digest, done))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._lookup_timeout)
        except TimeoutError as error:
            raise StorageUnavailable("the key could not be checked in time") from error

    async def _check(self, digest: str) -> Principal | None:
        began = self._clock.monotonic()
        loop = asyncio.get_running_loop()
        principal = await loop.run_in_executor(self._threads, self._read, digest)
        if principal is None:
            self._known.pop(digest, None)
            _remember(self._refused, digest, self._clock.monotonic() + min(self._ttl, _LONGEST_REFUSAL), _MOST_REFUSED)
        else:
            _remember(self._known, digest, _Known(principal, began), _MOST_KNOWN)
        return principal

    def _finished(self, digest: str, task: asyncio.Task[Principal | None]) -> None:
        self._lookups.pop(digest, None)
        if not task.cancelled():
            task.exception()  # every waiter may have gone: nobody else would retrieve it

    def _read(self, digest: str) -> Principal | None:
        try:
            with reading(self._engine) as session:
                row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.hash == digest))
        except SQLAlchemyError as error:
            raise StorageUnavailable("the keys cannot be read") from error
        if row is None or row.revoked_at is not None:
            return None
        return Principal(
            tenant=row.tenant,
            key_id=row.id,
            scopes=frozenset(row.scopes),
            limits=convert(row.limits, KeyLimits) if row.limits else NO_LIMITS,
        )


def require(principal: Principal, scope: str) -> None:
    """Raises Forbidden unless the key has the scope, or ``admin``."""
    if scope not in principal.scopes and "admin" not in principal.scopes:
        raise Forbidden(f"the key lacks the scope {scope!r}")


def _key_of(authorization: str | None, x_api_key: str | None) -> str:
    """Raises Unauthenticated for what cannot be a key, without asking SQL."""
    key = (x_api_key or "").strip()
    if authorization:
        scheme, _, value = authorization.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("the Authorization header is not 'Bearer <key>'")
        key = value.strip()
    if not key:
        raise Unauthenticated("the request carries no API key")
    if not key.startswith(PREFIX) or len(key) > _LONGEST_KEY:
        raise _refusal()
    return key


def _refusal() -> Unauthenticated:
    return Unauthenticated("the API key is unknown or revoked")


def _remember(memory: OrderedDict[str, _V], key: str, value: _V, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > most:
        memory.popitem(last=False)
