"""When somebody has to warm: a mark in the cache itself says which versions it was warmed for, and when.

The mark lives and dies with what it speaks of. A cache that was emptied, by a restart or by hand, has none; a version
that came to serve by a promotion or a rollback has none that is newer than the change. So each cause is noticed within
one reconcile, whoever caused it, and needs no message that could get lost. That a version is warmed once is a claim in
the state Redis: it also keeps a cache that is emptied again and again from costing its budget every minute.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from redis.asyncio import Redis

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.settings import Settings
from gateway.storage.redis_store import REDIS_TROUBLE, connect
from gateway.types import CachePlace, PromptVersion
from tasks.registration import engine_of
from tasks.releases import store
from tasks.step import step

T = TypeVar("T")
CLAIM_SECONDS = 600
"""How long nobody else warms a version, finished or not: longer than a warm-up takes."""
PATIENCE = 30.0
_TIMEOUT = 2.0
"""Seconds of one command: nobody waits for a reconcile."""


class Cause(StrEnum):
    """Why a version is to be warmed, in the words of the artifact."""

    ASKED = "somebody asked for it"
    RAMP = "it is about to serve"
    EMPTIED = "the cache holds nothing that was warmed: it was emptied or invalidated"
    CHANGED = "it serves since a promotion or a rollback"


@dataclass(frozen=True)
class Due:
    """A version in production that should be warmed."""

    tenant: str
    prompt: str
    version: str
    cause: Cause


@dataclass(frozen=True)
class _Redises:
    cache: Redis
    state: Redis


def why_warm(version: str, serves_since: float, marks: Mapping[str, float]) -> Cause | None:
    """``marks``: when this cache was last warmed for which version of the prompt. None while there is nothing to do."""
    if not marks:
        return Cause.EMPTIED
    return Cause.CHANGED if marks.get(version, 0.0) < serves_since else None


def can_be_warmed(version: PromptVersion) -> bool:
    """Answers that no other process can be asked from have to be made where they are kept."""
    policy = version.cache
    return policy.exact and policy.warm_top > 0 and not version.personal and policy.place is CachePlace.SHARED


@step("what is to be warmed")
def due_warm_ups(settings: Settings) -> list[Due]:
    """Of all tenants' prompts; each is claimed and will not be returned again within ``CLAIM_SECONDS``.

    Without Redis there is nothing to do now: [] it is. Raises StorageUnavailable when SQL does not answer.
    """
    engine = engine_of(settings)
    serving = [
        (row, msgspec.convert(store.get_version(engine, row.tenant, row.name, row.production).bundle, PromptVersion))
        for row in store.list_prompts(engine)
        if row.production
    ]

    async def look(both: _Redises) -> list[Due]:
        found: list[Due] = []
        for row, version in serving:
            if can_be_warmed(version):
                cause = why_warm(row.production, row.updated_at, await _read(both, row.tenant, row.name))
                if cause and await _claim(both, row.tenant, row.name, row.production):
                    found.append(Due(row.tenant, row.name, row.production, cause))
        return found

    try:
        return _run(settings, look)
    except StorageUnavailable:
        return []


@step("note that it is warm")
def mark_warm(settings: Settings, clock: Clock, tenant: str, prompt: str, version: str) -> bool:
    """False when the cache Redis does not answer: it is then warmed again later."""
    now = clock.now()

    async def write(both: _Redises) -> None:
        await both.cache.hset(_marks(tenant, prompt), version, repr(now))

    try:
        _run(settings, write)
    except StorageUnavailable:
        return False
    return True


@step("what was warm is gone")
def forget_marks(settings: Settings, tenant: str, prompt: str = "") -> None:
    """After an invalidation by hand, of one prompt or of all the tenant's: the next reconcile warms them.

    Raises StorageUnavailable.
    """
    rows = [row for row in store.list_prompts(engine_of(settings), tenant) if prompt in ("", row.name)]

    async def remove(both: _Redises) -> None:
        for row in rows:
            await both.cache.unlink(_marks(tenant, row.name))
            await both.state.unlink(_claim_name(tenant, row.name, row.production))

    _run(settings, remove)


async def _read(both: _Redises, tenant: str, prompt: str) -> dict[str, float]:
    found: Mapping[Any, Any] = await both.cache.hgetall(_marks(tenant, prompt))
    return {version.decode(): float(at) for version, at in found.items()}


async def _claim(both: _Redises, tenant: str, prompt: str, version: str) -> bool:
    name = _claim_name(tenant, prompt, version)
    return bool(await both.state.set(name, "warming", nx=True, ex=CLAIM_SECONDS))


def _run(settings: Settings, work: Callable[[_Redises], Awaitable[T]]) -> T:
    """Over connections of its own: this is asked every minute, and to put the online path together takes seconds."""

    async def ask() -> T:
        try:
            async with (
                asyncio.timeout(PATIENCE),
                connect(settings.cache_redis_url, timeout=_TIMEOUT, connections=1) as cache,
                connect(settings.state_redis_url, timeout=_TIMEOUT, connections=1) as state,
            ):
                return await work(_Redises(cache, state))
        except REDIS_TROUBLE as trouble:
            raise StorageUnavailable("Redis did not answer (marks of what is warm)") from trouble

    with ThreadPoolExecutor(1) as thread:  # a caller may be in a running loop
        return thread.submit(asyncio.run, ask()).result()


def _marks(tenant: str, prompt: str) -> str:
    return f"py:{{warm:{_quoted(tenant, prompt)}}}:versions"


def _claim_name(tenant: str, prompt: str, version: str) -> str:
    return f"py:{{warm:{_quoted(tenant, prompt)}}}:claim:{_quoted(version)}"


def _quoted(*parts: str) -> str:
    return "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
