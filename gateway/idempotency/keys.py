"""Which keys are allowed, and what makes two requests the same one. Pure."""

from hashlib import sha256
from typing import Any

import msgspec

from gateway.errors import InvalidRequest

LONGEST_KEY = 200
HEADER = "Idempotency-Key"

_ENCODING = b"promptyard/request/1"
"""Part of every fingerprint. Change it when the meaning of a body changes."""

_encode = msgspec.json.Encoder(order="sorted").encode


def check_key(key: str) -> str:
    """The key itself. Raises InvalidRequest unless it has 1 to 200 printable ASCII characters."""
    if not (1 <= len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"{HEADER} must have 1 to {LONGEST_KEY} printable ASCII characters", hint="A UUID for each request is good."
        )
    return key


def fingerprint(endpoint: str, body: Any) -> str:
    """SHA-256 (64 hex digits) of the endpoint and the decoded JSON body.

    Spacing, escapes and the order of an object's members do not count; everything else does: the order of lists, ``1``
    against ``1.0``, a member that is null against one that is missing. Raises InvalidRequest for what is no JSON.
    """
    try:
        canonical = _encode(body)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidRequest(f"the body cannot be compared with another: {type(error).__name__}") from None
    return sha256(b"\n".join((_ENCODING, _encode(endpoint), canonical))).hexdigest()
