"""What is kept for an answer, and how it is written: magic, CRC-32 (big-endian), MessagePack."""

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.types import Message, Reply

MAGIC = b"py\x03"
"""The last byte is the schema's version: an entry of another schema is a miss."""

_HEAD = len(MAGIC) + 4


class Entry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An answer with its provenance. Times are seconds since the epoch (the Unix one)."""

    key: str
    """Its own key again: an entry that got under another name is not served."""
    tenant: str
    prompt: str
    version: str
    """Name and version of the prompt; empty for a raw call."""
    collection: str
    epoch: str
    """The collection's epoch when the call began."""
    grounding: str
    """Digest of the passages that the answer was made from."""
    cuts: str
    """The token of removals by tenant, prompt and tag when the call began: see ``cuts.py``."""
    tags: tuple[str, ...]
    """Of the prompt's policy: under any of them the entry can be removed."""
    created_at: float
    expires_at: float
    aged_until: float
    """Until then it may be served past ``expires_at`` while it is made anew; ``expires_at`` itself for never."""
    made_in: float
    """Seconds that its providers took; 0 where nobody knows."""
    variables: Mapping[str, Any]
    messages: tuple[Message, ...]
    """The question, so that whoever removes the entry can ask it anew."""
    reply: Reply
    """``documents`` is its provenance; ``attempts`` is empty: serving it makes none."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be kept")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """Raises TypeError, ValueError or OverflowError for what MessagePack cannot hold."""
    body = _encoder.encode(entry)
    return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


def decode(stored: bytes) -> Entry | None:
    """None for what is cut, corrupt, foreign or of another schema."""
    body = memoryview(stored)[_HEAD:]
    if not stored.startswith(MAGIC) or stored[len(MAGIC) : _HEAD] != zlib.crc32(body).to_bytes(4, "big"):
        return None
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
