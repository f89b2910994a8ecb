"""What a document may look like, and the digest that tells whether it changed. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.errors import BodyTooLarge, InvalidRequest
from gateway.names import check_name as check_name
from gateway.retrieval import chunking

MAX_TEXT_BYTES = 1_000_000
MAX_TITLE_CHARACTERS = 300
MAX_ATTRIBUTES_BYTES = 16_000


class Content(msgspec.Struct, frozen=True):
    """A document that was found to be in order."""

    title: str
    text: str
    attributes: Mapping[str, Any]

    def digest(self, embedder: str) -> str:
        """SHA-256 (hex) over all that decides how it is found and read: same digest, nothing to do."""
        parts = ("document-1", str(chunking.VERSION), embedder, self.title, self.text)
        encoded = [part.encode() for part in parts] + [_canonical(self.attributes)]
        sha = hashlib.sha256()
        for part in encoded:
            sha.update(len(part).to_bytes(8, "big"))
            sha.update(part)
        return sha.hexdigest()


def check_content(title: str, text: str, attributes: Mapping[str, Any]) -> Content:
    """Raises InvalidRequest or BodyTooLarge, each of which says which field is wrong."""
    title = title.strip()
    if len(title) > MAX_TITLE_CHARACTERS:
        raise InvalidRequest(f"the title is longer than {MAX_TITLE_CHARACTERS} characters")
    if len(title.splitlines()) > 1:
        raise InvalidRequest("the title must be one line", hint="Put everything else into the text.")
    if not text.strip():
        raise InvalidRequest("the text is empty", hint="Send a text, or DELETE the document.")
    for field, value in (("title", title), ("text", text)):
        if not _storable(value):
            raise InvalidRequest(f"the {field} holds a NUL or half of a surrogate pair", hint="Send valid UTF-8 text.")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise BodyTooLarge(
            f"the text is larger than {MAX_TEXT_BYTES} bytes", hint="Split it into several documents by subject."
        )
    try:
        encoded = _canonical(attributes)
        plain = msgspec.json.decode(encoded)
        storable = _storable_json(plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            "the attributes are not plain JSON", hint="Use strings, numbers, lists, objects."
        ) from error
    if len(encoded) > MAX_ATTRIBUTES_BYTES:
        raise InvalidRequest(f"the attributes are larger than {MAX_ATTRIBUTES_BYTES} bytes of JSON")
    if not storable:
        raise InvalidRequest("the attributes hold a NUL or half of a surrogate pair", hint="Send valid UTF-8 text.")
    return Content(title=title, text=text, attributes=plain)


def _canonical(attributes: Mapping[str, Any]) -> bytes:
    if not isinstance(attributes, Mapping):
        raise TypeError("attributes are an object")
    return msgspec.json.encode(dict(attributes), order="deterministic")


def _storable(text: str) -> bool:
    """PostgreSQL keeps no NUL, and no database keeps what UTF-8 cannot say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _storable_json(value: Any) -> bool:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, list):
        return all(map(_storable_json, value))
    if isinstance(value, dict):
        return all(_storable(key) and _storable_json(one) for key, one in value.items())
    return True
