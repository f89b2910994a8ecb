"""A question as Redis keeps it: magic, CRC-32 (big-endian), MessagePack of text, end of life, scale and int8 vector.

An int8 vector takes a quarter of the float32 one and moves a cosine by less than 0.01, the same way in every worker.
"""

import zlib

import msgspec
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""Shape (dimensions,), of unit length."""

MAGIC = b"ps\x01"
_HEAD = len(MAGIC) + 4
_STEPS = 127


class Item(msgspec.Struct, frozen=True, array_like=True):
    """``expires_at`` is in Unix seconds."""

    text: str
    expires_at: float
    scale: float
    steps: bytes

    @property
    def vector(self) -> Vector:
        return np.frombuffer(self.steps, dtype=np.int8).astype(np.float32) * np.float32(self.scale)


_decoder = msgspec.msgpack.Decoder(Item)


def encode_item(text: str, vector: Vector, expires_at: float) -> bytes:
    """Raises ``UnicodeEncodeError`` for a lone surrogate."""
    scale = float(np.abs(vector).max()) / _STEPS or 1.0
    steps = np.rint(vector / scale).astype(np.int8)
    body = msgspec.msgpack.encode(Item(text, expires_at, scale, steps.tobytes()))
    return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


def decode_item(stored: bytes) -> Item | None:
    """None for what is cut, corrupt or foreign."""
    body = memoryview(stored)[_HEAD:]
    if not stored.startswith(MAGIC) or stored[len(MAGIC) : _HEAD] != zlib.crc32(body).to_bytes(4, "big"):
        return None
    try:
        item = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError):
        return None
    return item if item.steps and np.isfinite(item.scale) else None
