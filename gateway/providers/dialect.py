"""What differs between the vendors' wire protocols: the way there, the way back, the way of a stream."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from msgspec import Struct

from gateway.types import Completion, Message, Usage


class Parsed(Struct, frozen=True):
    """An answer in OpenAI's terms."""

    message: Message
    finish_reason: str
    usage: Usage


class Outgoing(Struct, frozen=True):
    """A request in the vendor's terms; ``headers`` are those that this one request adds."""

    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}


class StreamReader(Protocol):
    """Reads the events of one stream."""

    def feed(self, event: object) -> Mapping[str, Any]:
        """The event as a delta in OpenAI's shape; empty when it has nothing for the caller.

        Raises ``ValueError`` for an event that is not of the protocol.
        """
        ...

    def finish(self) -> Parsed | None:
        """The whole answer; None when the stream ended before the provider said that it was complete."""
        ...

    def so_far(self) -> Parsed:
        """What came until now, without a finish reason; its usage is ``complete`` if all of it was reported."""
        ...


class Dialect(Protocol):
    """A wire protocol. Implementations are pure."""

    def encode(self, request: Completion, *, stream: bool) -> Outgoing:
        """Raises ``ProviderLacksFeature`` or ``ProviderRejectedRequest`` for what it cannot express."""
        ...

    def decode(self, payload: object) -> Parsed:
        """Raises ``ValueError`` for an answer that is not of the protocol."""
        ...

    def reader(self) -> StreamReader: ...


class EventStream(Protocol):
    """Decoded server-sent events, one after the other."""

    def __aiter__(self) -> AsyncIterator[object]: ...

    async def close(self) -> None: ...


class Connection(Protocol):
    """The way to one endpoint. Raises the ``TRANSPORT_ERRORS`` of ``failures``."""

    async def ask(self, outgoing: Outgoing, seconds: float) -> bytes:
        """The body of a successful answer, within ``seconds`` in all."""
        ...

    async def listen(self, outgoing: Outgoing, seconds: float) -> EventStream:
        """The events of a successful answer; the caller bounds the time, ``seconds`` bounds the silences."""
        ...

    async def aclose(self) -> None: ...
