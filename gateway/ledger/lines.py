"""The spool's line format, pure: ``<CRC-32 of the JSON, 8 hex digits> {"k":<kind>,"r":<record>}\\n``.

JSON never holds a raw line feed, so a line is a record; the checksum tells a torn or damaged line from a whole one.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

Record = Mapping[str, Any] | msgspec.Struct

_encoder = msgspec.json.Encoder()
_HEADER = 9


class Envelope(msgspec.Struct, frozen=True):
    """A record's kind, and the record as JSON."""

    kind: str = msgspec.field(name="k")
    record: msgspec.Raw = msgspec.field(name="r")


class BrokenLine(ValueError):
    """The line is torn, damaged, or no record. The message says which and holds nothing of the line."""


_decoder = msgspec.json.Decoder(Envelope)


def encode_line(kind: str, record: Record) -> bytes:
    """One line with its line feed.

    What SQL text cannot hold (NUL characters; halves of surrogate pairs, which a provider's cut answer may contain)
    becomes U+FFFD here, so that it never costs the record. Raises ``TypeError`` for values that are no JSON.
    """
    try:
        payload = _encoder.encode({"k": kind, "r": record})
        if b"\\u0000" in payload:
            payload = _encoder.encode({"k": kind, "r": _printable(msgspec.to_builtins(record))})
    except UnicodeEncodeError:
        payload = _encoder.encode({"k": kind, "r": _printable(msgspec.to_builtins(record))})
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def decode_line(line: bytes) -> Envelope:
    """The record of a line. Raises BrokenLine."""
    if not line.endswith(b"\n"):
        raise BrokenLine("torn: the line has no end")
    payload = line[_HEADER:-1]
    if line[:_HEADER] != b"%08x " % zlib.crc32(payload):
        raise BrokenLine("damaged: the checksum does not fit")
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenLine("no record: it has no kind or no content") from error


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return value
