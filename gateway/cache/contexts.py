"""Retrieved passages in the cache Redis.

They are kept under the epoch that they were found under and are true for as long as it is the current one, which
the call has just read: a change of documents needs no list of them. They save the embedding and the search.

A name is ``py:c:{<tenant>|<collection>}:<SHA-256 of the rest>``; a value is magic, CRC-32 (big-endian), MessagePack.
"""

import zlib
from asyncio import Future
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.cache import rules
from gateway.cache.keys import canonical
from gateway.storage.line import Line
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Passage

PREFIX = "py:c:{"
MAGIC = b"pc\x01"
"""The last byte is the schema's version."""

_HEAD = len(MAGIC) + 4


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


def _seen(done: "Future[Any]") -> None:
    if not done.cancelled():
        done.exception()
