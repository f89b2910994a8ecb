"""Retrieved passages in the cache Redis, and the retriever that uses them and the vectors of queries.

Passages are kept under the epoch that they were found under and are true for as long as it is the current one, which
the call has just read: a change of documents needs no list of them. They save the embedding and the search.

A name is ``py:c:{<tenant>|<collection>}:<SHA-256 of the rest>``; a value is magic, CRC-32 (big-endian), MessagePack.
"""

import zlib
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from gateway.cache import rules
from gateway.cache.embeddings import EmbeddingCache
from gateway.cache.keys import canonical
from gateway.clock import Clock
from gateway.embedding.base import Vectors
from gateway.storage.line import Line
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.trail import Look
from gateway.types import CachePolicy, LayerPolicy, Passage

PREFIX = "py:c:{"
MAGIC = b"pc\x01"
"""The last byte is the schema's version."""
EMBEDDING, CONTEXT = "embedding", "context"
UNNEEDED = "unneeded"
"""What stands behind the layer is as fast as a look into it."""

_HEAD = len(MAGIC) + 4

_DEFAULT: Final = CachePolicy()

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


class Question(msgspec.Struct, frozen=True, array_like=True):
    """What passages depend on."""

    tenant: str
    collection: str
    epoch: str
    query: str
    top_k: int
    embedder: str

    @property
    def name(self) -> str:
        """The Redis key."""
        scope = "|".join(quote(part, safe="", errors="surrogatepass") for part in (self.tenant, self.collection))
        return f"{PREFIX}{scope}}}:{sha256(canonical(self)).hexdigest()}"


class _Context(msgspec.Struct, frozen=True, array_like=True):
    question: Question
    """Again, in full: passages that got under another name are not used."""
    passages: tuple[Passage, ...]


class ContextCache:
    """Safe to share within one event loop. Trouble with Redis is a miss; nothing here raises."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def find(self, question: Question) -> tuple[tuple[Passage, ...] | None, str]:
        """The passages, and ``hit`` or why there are none. One GET."""
        try:
            stored = await self._line.ask("GET", question.name)
        except REDIS_TROUBLE:
            return None, rules.UNAVAILABLE
        passages = decode(question, stored)
        return passages, rules.MISS if passages is None else rules.HIT

    def keep(self, question: Question, passages: tuple[Passage, ...], ttl: float) -> None:
        """On its way when this returns; nobody waits for it."""
        try:
            value = encode(question, passages)
        except (TypeError, ValueError, OverflowError):
            return  # half a surrogate pair: rare, and not worth a format
        self._line.ask("SET", question.name, value, "PX", max(1, int(ttl * 1000))).add_done_callback(_seen)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Context)


def encode(question: Question, passages: tuple[Passage, ...]) -> bytes:
    """Raises TypeError, ValueError or OverflowError for what MessagePack cannot hold."""
    body = _encoder.encode(_Context(question, passages))
    return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


def decode(question: Question, stored: bytes | None) -> tuple[Passage, ...] | None:
    """None for what is missing, cut, corrupt, of another schema or of another question."""
    if stored is None or not stored.startswith(MAGIC):
        return None
    body = memoryview(stored)[_HEAD:]
    if stored[len(MAGIC) : _HEAD] != zlib.crc32(body).to_bytes(4, "big"):
        return None
    try:
        context = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return context.passages if context.question == question else None


class Retrieved(msgspec.Struct, frozen=True):
    """As ``ports.Retrieved``."""

    passages: tuple[Passage, ...]
    fresh: bool
    looks: tuple[Look, ...] = ()


class _Found(Protocol):
    @property
    def passages(self) -> tuple[Passage, ...]: ...
    @property
    def fresh(self) -> bool: ...


class Search(Protocol):
    """Raises StorageUnavailable and a ProviderError. ``embed`` gives the vectors of what is looked for."""

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, *, embed: Embed | None = None
    ) -> _Found: ...


class CachedRetriever:
    """A Retriever: passages kept, else found by vectors kept, else by vectors made now.

    ``contexts`` and ``embeddings`` are None where they do not pay, whatever a prompt's policy says.
    """

    def __init__(
        self,
        search: Search,
        *,
        embedder: str,
        embeddings: EmbeddingCache | None,
        contexts: ContextCache | None,
        clock: Clock,
    ) -> None:
        self._search = search
        self._embedder = embedder
        self.embeddings = embeddings
        self._contexts = contexts
        self._clock = clock

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, policy: CachePolicy = _DEFAULT
    ) -> Retrieved:
        """As ``Search.find``; ``looks`` tells what the layers said that were asked."""
        looks: list[Look] = []
        embed = self._embed(tenant, policy.embedding, looks)
        if self._contexts is None:
            looks.append(Look(CONTEXT, UNNEEDED))
        elif not _is_on(policy.context):
            looks.append(Look(CONTEXT, rules.OFF))
        elif not epoch:
            looks.append(Look(CONTEXT, rules.EPOCH))
        else:
            question = Question(tenant, collection, epoch, query, top_k, self._embedder)
            return await self._find_kept(self._contexts, question, policy.context.ttl, embed, looks)
        found = await self._search.find(tenant, collection, epoch, query, top_k, embed=embed)
        return Retrieved(found.passages, found.fresh, tuple(looks))

    async def _find_kept(
        self, contexts: ContextCache, asked: Question, ttl: float, embed: Embed | None, looks: list[Look]
    ) -> Retrieved:
        begun = self._clock.monotonic()
        passages, outcome = await contexts.find(asked)
        looks.append(Look(CONTEXT, outcome, self._clock.monotonic() - begun))
        if passages is not None:
            return Retrieved(passages, True, (looks[-1],))
        found = await self._search.find(
            asked.tenant, asked.collection, asked.epoch, asked.query, asked.top_k, embed=embed
        )
        if found.fresh and outcome == rules.MISS:
            contexts.keep(asked, found.passages, ttl)
        return Retrieved(found.passages, found.fresh, tuple(looks))

    def _embed(self, tenant: str, policy: LayerPolicy, looks: list[Look]) -> Embed | None:
        """How the search shall embed; None for its own way."""
        embeddings = self.embeddings
        if embeddings is None:
            looks.append(Look(EMBEDDING, UNNEEDED))
            return None
        if not _is_on(policy):
            looks.append(Look(EMBEDDING, rules.OFF))
            return None

        async def embed(texts: Sequence[str]) -> Vectors:
            begun = self._clock.monotonic()
            embedded = await embeddings.embed(tenant, texts, policy)
            looks.append(Look(EMBEDDING, embedded.outcome, self._clock.monotonic() - begun))
            return embedded.vectors

        return embed


def _is_on(policy: LayerPolicy) -> bool:
    return policy.on and policy.ttl > 0


def _seen(done: "Future[Any]") -> None:
    if not done.cancelled():
        done.exception()
