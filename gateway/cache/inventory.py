"""Going through what is kept, in bounded batches: for invalidation, statistics and warming; never on the hot path."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis

from gateway.cache import contexts, embeddings
from gateway.cache.entry import decode
from gateway.cache.keys import PREFIX, Scope, name_pattern
from gateway.cache.semantic import scope as semantic
from gateway.errors import StorageUnavailable
from gateway.storage.each_server import servers_of
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Message

BATCH = 200
SEMANTIC_PREFIX = "py:s:{"
"""Of the semantic layer's questions; the rest of the name is as an entry's."""


class Kept(Struct, frozen=True, kw_only=True):
    """An entry without its answer. ``size`` is in bytes; ``readable`` is False for what would be a miss."""

    name: str
    scope: Scope
    size: int
    readable: bool = True
    collection: str = ""
    epoch: str = ""
    documents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    created_at: float = 0.0
    expires_at: float = 0.0
    aged_until: float = 0.0
    provider: str = ""
    model: str = ""
    variables: Mapping[str, Any] = {}
    messages: tuple[Message, ...] = ()


class Inventory:
    """Sees entries that were there all along; those that come or go meanwhile may be missed or repeated (SCAN)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def survey(self, tenant: str | None = None) -> AsyncIterator[Kept]:
        """Raises StorageUnavailable."""
        async for names in self._batches(f"{PREFIX}*" if tenant is None else name_pattern(tenant)):
            try:
                pipe = self._redis.pipeline(transaction=False)
                for name in names:
                    pipe.get(name)
                values = await pipe.execute()
            except REDIS_TROUBLE as trouble:
                raise _down("survey") from trouble
            for name, stored in zip(names, values, strict=True):
                if stored is not None and (kept := _kept(name.decode(errors="replace"), stored)):
                    yield kept

    async def forget(self, tenant: str, prompt: str | None = None, version: str | None = None) -> int:
        """Raises StorageUnavailable, and ``ValueError`` for a version without prompt."""
        removed = 0
        async for names in self._batches(name_pattern(tenant, prompt, version)):
            removed += await self._unlink(names)
        return removed

    async def forget_beneath(self, tenant: str) -> int:
        """Vectors of a tenant's queries, passages and similar questions, which hold the queries; returns how many.

        None of them is an answer, and all of them are true for as long as they are used. Raises StorageUnavailable.
        """
        removed = 0
        for prefix in (contexts.PREFIX, embeddings.PREFIX, semantic.PREFIX):
            async for names in self._batches(name_pattern(tenant).replace(PREFIX, prefix, 1)):
                removed += await self._unlink(names)
        return removed

    async def drop(self, names: list[str]) -> int:
        """Raises StorageUnavailable, and ``ValueError`` for a name that is not an entry's."""
        for name in names:
            Scope.parse(name)
        removed = 0
        for start in range(0, len(names), BATCH):
            removed += await self._unlink([name.encode() for name in names[start : start + BATCH]])
        return removed

    async def questions(self, tenant: str, prompt: str | None = None, version: str | None = None) -> dict[str, int]:
        """What the semantic layer remembers of a scope: the number of questions by the name they are kept under.

        Raises StorageUnavailable, and ``ValueError`` for a version without prompt.
        """
        pattern = name_pattern(tenant, prompt, version).replace(PREFIX, SEMANTIC_PREFIX, 1)
        found: dict[str, int] = {}
        async for names in self._batches(pattern):
            try:
                pipe = self._redis.pipeline(transaction=False)
                for name in names:
                    pipe.xlen(name)
                lengths = await pipe.execute()
            except REDIS_TROUBLE as trouble:
                raise _down("questions") from trouble
            found |= {name.decode(errors="replace"): int(n) for name, n in zip(names, lengths, strict=True)}
        return found

    async def drop_questions(self, names: Sequence[str]) -> None:
        """By the names that ``questions`` gave. Raises StorageUnavailable."""
        for start in range(0, len(names), BATCH):
            await self._unlink([name.encode() for name in names[start : start + BATCH]])

    async def _unlink(self, names: list[bytes]) -> int:
        try:
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.execute_command("UNLINK", name)  # a cluster's pipeline has no other way
            return sum(await pipe.execute())
        except REDIS_TROUBLE as trouble:
            raise _down("remove") from trouble

    async def _batches(self, pattern: str) -> AsyncIterator[list[bytes]]:
        try:
            for server in await servers_of(self._redis):
                async for names in server.names(pattern, BATCH):
                    yield names
        except REDIS_TROUBLE as trouble:
            raise _down("scan") from trouble


def _kept(name: str, stored: bytes) -> Kept | None:
    try:
        scope = Scope.parse(name)
    except ValueError:
        return None
    entry = decode(stored)
    if entry is None:
        return Kept(name=name, scope=scope, size=len(stored), readable=False)
    return Kept(
        name=name,
        scope=scope,
        size=len(stored),
        collection=entry.collection,
        epoch=entry.epoch,
        documents=entry.reply.documents,
        tags=entry.tags,
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        aged_until=entry.aged_until,
        provider=entry.reply.provider,
        model=entry.reply.model,
        variables=entry.variables,
        messages=entry.messages,
    )


def _down(step: str) -> StorageUnavailable:
    return StorageUnavailable(f"the cache Redis did not answer ({step})")
