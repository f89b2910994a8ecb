"""Removal by name, in O(1) for whoever removes: a tenant, a prompt, one of its versions, or a tag.

Each name has a token in the state Redis. A look into the cache reads those that concern its call, in one MGET that
travels with everything else of that tick, and an entry counts only under the tokens that its call began under. So a
*cut*, which replaces one token, is all it takes: no worker serves what was made before it, answers that were in flight
and copies in a worker's own memory included. What then lies around is swept away later, for the memory.

The generation is among the tokens: a state Redis that lost writes, cuts perhaps among them, makes old entries miss.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any
from urllib.parse import quote

from redis.asyncio import Redis

from gateway.cache.epochs import random_token
from gateway.errors import StorageUnavailable
from gateway.storage.line import Line, line_for
from gateway.storage.redis_line import Script
from gateway.storage.redis_store import GENERATION_KEY, REDIS_TROUBLE

UNKNOWN = ""
"""Redis does not answer: then the cache neither answers nor keeps."""

_PREFIX = "py:{epoch}:cut:"
_BORN = Script("redis.call('SET', KEYS[1], ARGV[1], 'NX') return redis.call('GET', KEYS[1])")


class Cuts:
    """``timeout`` (seconds) bounds every method; safe to share within one event loop."""

    def __init__(
        self,
        redis: Redis,
        *,
        timeout: float,
        token: Callable[[], str] = random_token,
        line: Line | None = None,
    ) -> None:
        self._redis = redis
        self._timeout = timeout
        self._token = token
        self._line = line or line_for(redis, timeout=timeout)

    def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> Awaitable[str]:
        """The token that an answer of this prompt is valid under, or ``UNKNOWN``. Never raises; one round-trip, which
        has begun when this returns."""
        return _Asked(self._line.ask("MGET", GENERATION_KEY, *_names(tenant, prompt, version, tags)), self._born)

    async def _born(self) -> bytes:
        generation: bytes = await self._line.run(_BORN, [GENERATION_KEY], [self._token()])
        return generation

    async def cut(self, tenant: str, *, prompt: str = "", version: str = "", tag: str = "") -> None:
        """From now on nothing counts that was made before, of the tenant or of the one name that is given.

        Raises StorageUnavailable (then it may count or not), and ``ValueError`` for a version without prompt.
        """
        if version and not prompt:
            raise ValueError("a version needs its prompt")
        name = _tag(tenant, tag) if tag else _names(tenant, prompt, version, ())[-1]
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.set(name, self._token())
        except REDIS_TROUBLE as trouble:
            raise StorageUnavailable("the state Redis did not answer (cut)") from trouble


class _Asked:
    """Not a coroutine: who asked may leave without hearing."""

    def __init__(self, asked: "asyncio.Future[Any]", born: Callable[[], Awaitable[bytes]]) -> None:
        self._asked = asked
        self._born = born

    def __await__(self) -> Generator[Any, None, str]:
        return self._told().__await__()

    async def _told(self) -> str:
        try:
            generation, *tokens = await self._asked
            if generation is None:
                generation = await self._born()
        except REDIS_TROUBLE:
            return UNKNOWN
        return ".".join(bytes(one).decode() if one is not None else "" for one in (generation, *tokens))


def _names(tenant: str, prompt: str, version: str, tags: Sequence[str]) -> list[str]:
    names = [_name(tenant)]
    if prompt:
        names.append(_name(tenant, "p", prompt))
    if version:
        names.append(_name(tenant, "v", prompt, version))
    return names + [_tag(tenant, tag) for tag in tags]


def _tag(tenant: str, tag: str) -> str:
    return _name(tenant, "t", tag)


def _name(*parts: str) -> str:
    return _PREFIX + "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)
