"""What both provider protocols share: the shape of an exchange, refusals, and chat content in its two forms."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

Shape = TypeVar("Shape")


class Refusal(Exception):
    """The provider refuses a call: its `status` and a message for the developer; `param` names the field, if one."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class Exchange(Protocol):
    """One understood call, ready to be answered in its protocol."""

    model: str
    streams: bool

    def body(self, identity: str, created: int) -> bytes:
        """The whole answer as JSON. `identity` is a fresh hexadecimal id, `created` in Unix seconds."""
        ...

    def events(self, identity: str, created: int) -> list[bytes]:
        """The answer as server-sent events, each with its blank line."""
        ...


class Dialect(Protocol):
    """How a provider names itself, takes a key, and shapes an error."""

    name: str

    def key(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The API key of a call, empty when there is none."""
        ...

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """The JSON body of an error."""
        ...


class ContentPart(msgspec.Struct):
    """A part of a message's content; parts that are not text (images, files) are accepted and not read."""

    type: str = "text"
    text: str | None = None
    content: Any = None


def text_of(content: str | Sequence[ContentPart] | None) -> str:
    """The text of a message's content, whether a string or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(part.text if part.text is not None else _nested(part.content) for part in content)


def halves(text: str) -> tuple[str, str]:
    """The text in two pieces, as a stream delivers the arguments of a tool."""
    middle = len(text) // 2
    return text[:middle], text[middle:]


def _nested(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(c.get("text", "")) for c in content if isinstance(c, dict))
    return ""


def decode(body: bytes, shape: type[Shape]) -> Shape:
    """Reads a JSON body; raises `Refusal` 400 with the place of the first mistake."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"Invalid request: {error}") from None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"We could not parse the JSON body of your request: {error}") from None


def header(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str:
    """A header's value, "" when absent; `name` in lower case."""
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def bearer(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The token of ``Authorization: Bearer``, "" when absent."""
    scheme, _, token = header(headers, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def server_sent(data: Any, event: str | None = None) -> bytes:
    """One server-sent event with a JSON payload."""
    head = f"event: {event}\n".encode() if event else b""
    return head + b"data: " + msgspec.json.encode(data) + b"\n\n"
