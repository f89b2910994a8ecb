"""An Answer as it is kept for replays: magic, CRC-32 (big-endian), JSON.

JSON, because the response is JSON: what could be answered can be kept, integers of any width included.
"""

import zlib

import msgspec
from msgspec import structs

from gateway.idempotency.claims import NOT_KEPT, not_kept
from gateway.types import Answer, Call, PromptVersion

MAGIC = b"pyi\x01"
"""The last byte is the schema's version: an answer of another schema is refused, not misread."""

_HEAD = len(MAGIC) + 4
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Answer)


def encode(answer: Answer) -> bytes:
    """NOT_KEPT for an answer that no JSON can hold (half a surrogate pair): it could not have left either."""
    try:
        body = _encode(structs.replace(answer, call=_without_content(answer.call)))
    except (TypeError, ValueError, RecursionError):
        return NOT_KEPT
    return MAGIC + zlib.crc32(body).to_bytes(4, "big") + body


def decode(stored: bytes) -> Answer:
    """Raises IdempotencyConflict for what is cut, corrupt, foreign or of another schema: it cannot be replayed."""
    body = memoryview(stored)[_HEAD:]
    if not stored.startswith(MAGIC) or stored[len(MAGIC) : _HEAD] != zlib.crc32(body).to_bytes(4, "big"):
        raise not_kept()
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise not_kept() from None


def _without_content(call: Call) -> Call:
    """What says where the answer came from; nothing of what was asked, and nobody's name."""
    return Call(
        id=call.id,
        tenant=call.tenant,
        received_at=call.received_at,
        origin=call.origin,
        prompt=call.prompt,
        pinned=call.pinned,
        model=call.model,
        stream=call.stream,
        kind=call.kind,
        version=_without_template(call.version) if call.version else None,
        arm=call.arm,
        release=call.release,
        weight=call.weight,
        evidence=call.evidence,
        experiment=call.experiment,
        fell_back_from=call.fell_back_from,
        collection=call.collection,
    )


def _without_template(version: PromptVersion) -> PromptVersion:
    return PromptVersion(
        tenant=version.tenant,
        name=version.name,
        version=version.version,
        digest=version.digest,
        template=(),
        chain=version.chain,
    )
