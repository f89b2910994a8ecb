"""Vectors of queries in the cache Redis: a text that was embedded before need not be embedded again.

For the embedders of searches, remote or local; not for the lexical one, which is as fast as a look (``compose.py``
decides). Kept as float16, half the size: its rounding moves a cosine by less than 0.001. So that a question finds the
same passages whether or not its vector was kept, a fresh vector is rounded the same way before it is used.

Not for ``/v1/embeddings``. Its callers get what their model gave them, in float32 and to the last bit, with the tokens
they are charged for; there is no prompt whose policy could switch that off; and one caller who indexes a corpus would
put 6 KB for each of its texts where answers live, which Redis would evict for them. What is asked for at the same
moment shares a request all the same (``gateway/embedding/batching.py``).

A name is ``py:e:{<tenant>|<embedder>}:<SHA-256 of the text>``; a value is magic, CRC-32 (big-endian, of name and
body), and the little-endian numbers. The CRC binds a vector to its name: under another one it is a miss.
"""

import zlib
from asyncio import Future
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import numpy as np
from msgspec import Struct

from gateway.cache import rules
from gateway.embedding.base import Embedder, Vectors, unit_rows
from gateway.storage.line import Line
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import LayerPolicy

PREFIX = "py:e:{"
MAGIC = b"pe\x01"
"""The last byte is the schema's version."""

_HEAD = len(MAGIC) + 4


class Embedded(Struct, frozen=True):
    """One row for each text, of unit length or all zero. ``outcome``: ``hit`` if no text had to be embedded."""

    vectors: Vectors
    outcome: str


class EmbeddingCache:
    """Safe to share within one event loop. Trouble with Redis is a miss; only ``embedder`` raises."""

    def __init__(self, line: Line, embedder: Embedder) -> None:
        self._line = line
        self._embedder = embedder

    async def embed(self, tenant: str, texts: Sequence[str], policy: LayerPolicy) -> Embedded:
        """Raises a ProviderError where a text has to be embedded and cannot be."""
        if not policy.on or policy.ttl <= 0 or not texts:
            return Embedded(rounded(await self._embedder.embed(texts)), rules.OFF)
        names = [vector_name(tenant, self._embedder.name, text) for text in texts]
        try:
            stored = await self._line.ask("MGET", *names)
            outcome = rules.MISS
        except REDIS_TROUBLE:
            stored = [None] * len(names)
            outcome = rules.UNAVAILABLE
        size = self._embedder.dimensions
        rows = [decode(name, value, size) for name, value in zip(names, stored, strict=True)]
        missing = [place for place, row in enumerate(rows) if row is None]
        if missing:
            fresh = rounded(await self._embedder.embed([texts[place] for place in missing]))
            for place, row in zip(missing, fresh, strict=True):
                rows[place] = row
                if outcome is rules.MISS:
                    self._keep(names[place], row, policy.ttl)
        whole = [row for row in rows if row is not None]
        if len({len(row) for row in whole}) != 1:  # kept under this name by a model that has changed its size since
            return Embedded(rounded(await self._embedder.embed(texts)), rules.MISS)
        return Embedded(unit_rows(np.stack(whole)), outcome if missing else rules.HIT)

    def _keep(self, name: str, row: Vectors, ttl: float) -> None:
        """On its way when this returns; nobody waits for it, and its trouble is no news."""
        self._line.ask("SET", name, encode(name, row), "PX", max(1, int(ttl * 1000))).add_done_callback(_seen)


def vector_name(tenant: str, embedder: str, text: str) -> str:
    """The Redis key of a text's vector."""
    scope = "|".join(quote(part, safe="", errors="surrogatepass") for part in (tenant, embedder))
    return f"{PREFIX}{scope}}}:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def rounded(vectors: Vectors) -> Vectors:
    """As they are kept, at unit length."""
    return unit_rows(vectors.astype(np.float16))


def encode(name: str, row: Vectors) -> bytes:
    body = row.astype("<f2").tobytes()
    return MAGIC + _checksum(name, body) + body


def decode(name: str, stored: bytes | None, size: int) -> Vectors | None:
    """A vector of ``size`` numbers (0: of any number of them); None for what is missing, cut, corrupt or foreign."""
    if stored is None or not stored.startswith(MAGIC):
        return None
    body = stored[_HEAD:]
    if stored[len(MAGIC) : _HEAD] != _checksum(name, body) or len(body) % 2:
        return None
    row = np.frombuffer(body, dtype="<f2").astype(np.float32)
    return row if len(row) == (size or len(row)) and bool(np.isfinite(row).all()) else None


def _checksum(name: str, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(name.encode())).to_bytes(4, "big")


def _seen(done: "Future[Any]") -> None:
    if not done.cancelled():
        done.exception()
