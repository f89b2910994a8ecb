"""What workers tell each other of a shared call: MessagePack, checked on arrival, never trusted."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import Overloaded, PromptyardError, ProviderError
from gateway.types import Attempt, Delta, Reply

JOIN, PIECES, REPLY, ERROR, LEFT = "join", "pieces", "reply", "error", "left"


class Message(Struct, frozen=True, array_like=True):
    """``kind`` is one of the above; ``position`` is how many pieces were told before these."""

    kind: str
    flight: str
    body: Any = None
    position: int = 0


class _Failure(Struct, frozen=True, kw_only=True):
    """An error as it travels. It holds no prompt and no key: see ``errors``."""

    code: str
    message: str
    hint: str
    retry_after: float | None = None
    provider: str = ""
    model: str = ""
    attempts: tuple[Attempt, ...] = ()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} cannot be told")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoder = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    """Raises TypeError, ValueError or OverflowError for what MessagePack cannot hold."""
    return _encoder.encode(message)


def decode(data: Any) -> Message | None:
    """None for what is no message."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return None


def pieces_of(message: Message) -> list[Delta]:
    """Raises msgspec.ValidationError."""
    return msgspec.convert(message.body, list[Delta])


def reply_of(message: Message) -> Reply:
    """Raises msgspec.ValidationError."""
    return msgspec.convert(message.body, Reply)


def failure(error: BaseException) -> Any:
    """The body of an ERROR. Of what nobody foresaw only the kind travels."""
    if not isinstance(error, PromptyardError):
        return _Failure(code=PromptyardError.code, message=type(error).__name__, hint=PromptyardError.default_hint)
    return _Failure(
        code=error.code,
        message=error.message,
        hint=error.hint,
        retry_after=error.retry_after,
        provider=getattr(error, "provider", ""),
        model=getattr(error, "model", ""),
        attempts=tuple(Attempt(a.provider, a.model, a.latency_ms, a.error) for a in error.attempts),
    )


def error_of(message: Message) -> PromptyardError:
    """As it was raised by the worker that made the call. Raises msgspec.ValidationError."""
    told = msgspec.convert(message.body, _Failure)
    kind = _classes().get(told.code, Overloaded)
    error: PromptyardError
    if issubclass(kind, ProviderError):
        error = kind(
            told.message, provider=told.provider, model=told.model, hint=told.hint, retry_after=told.retry_after
        )
    else:
        error = kind(told.message, hint=told.hint, retry_after=told.retry_after)
    error.attempts = told.attempts
    return error


def _classes() -> dict[str, type[PromptyardError]]:
    """The whole tree by code; the one nearest to the root wins where a code is inherited."""
    found: dict[str, type[PromptyardError]] = {}
    row: list[type[PromptyardError]] = [PromptyardError]
    while row:
        for one in row:
            found.setdefault(one.code, one)
        row = [child for one in row for child in one.__subclasses__()]
    return found
