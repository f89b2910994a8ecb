"""Answers one provider call over ASGI: key, body, fault, latency, and the answer whole or as a stream."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from .faults import Fault, FaultBoard
from .practice.abilities import ability_of
from .statistics import DROPPED, CallCounts
from .wire import Dialect, Exchange, Refusal

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_HANG_SECONDS = 600.0
#: ASGI extension under which the server offers to close a connection without an answer; see `server`.
DROP_EXTENSION = "simulator.drop"
_PAUSES_PER_STREAM = 6


@dataclass(frozen=True, slots=True)
class World:
    """What the endpoints share: the faults in force, the counts, chance, time and sleep."""

    board: FaultBoard
    counts: CallCounts
    rng: random.Random
    unix_time: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]


class ProviderEndpoint:
    """An ASGI application for one path of one provider."""

    def __init__(self, world: World, dialect: Dialect, name: str, read: Callable[[bytes, str], Exchange]) -> None:
        self._world = world
        self._dialect = dialect
        self._name = name
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        world = self._world
        identity = f"{world.rng.getrandbits(96):024x}"
        model = ""
        try:
            if not self._dialect.key(scope["headers"]):
                raise Refusal(401, "You didn't provide an API key.")
            exchange = self._read(await _body(receive), identity)
            model = exchange.model
            fault = world.board.decide(self._dialect.name, model, ability_of(model).slowness)
            if fault.outage or fault.hang:
                world.counts.add(self._dialect.name, self._name, model, DROPPED)
                await _say_nothing(fault, scope, receive)
                return
            if fault.retry_after is not None:
                raise _RateLimited(fault.retry_after)
            if fault.status is not None:
                await world.sleep(fault.latency)
                raise Refusal(fault.status, f"The simulator was asked to fail with status {fault.status}.")
            world.counts.add(self._dialect.name, self._name, model, 200)
            if exchange.streams:
                await self._stream(exchange, identity, fault, scope, receive, send)
            else:
                body = exchange.body(identity, int(world.unix_time()))
                await world.sleep(fault.latency)
                await respond(send, 200, body[: len(body) // 2] if fault.malformed else body, identity)
        except Refusal as refusal:
            world.counts.add(self._dialect.name, self._name, model, refusal.status)
            extra = [(b"retry-after", str(refusal.seconds).encode())] if isinstance(refusal, _RateLimited) else []
            await respond(send, refusal.status, self._dialect.error(refusal, f"req_{identity}"), identity, extra)

    async def _stream(
        self, exchange: Exchange, identity: str, fault: Fault, scope: Scope, receive: Receive, send: Send
    ) -> None:
        world = self._world
        events = exchange.events(identity, int(world.unix_time()))
        if fault.malformed:
            half = len(events) // 2
            events = [*events[:half], events[half][: len(events[half]) // 2] + b"\n\n"]
        first = fault.latency * 0.4 if fault.first_token is None else fault.first_token
        pause = fault.latency * 0.6 / _PAUSES_PER_STREAM
        every = max(1, len(events) // _PAUSES_PER_STREAM)
        await world.sleep(first)
        await send(_start(200, b"text/event-stream; charset=utf-8", identity, [(b"cache-control", b"no-cache")]))
        for number, event in enumerate(events):
            if fault.cut_after_chunks is not None and number >= fault.cut_after_chunks:
                await _close(scope, receive)
                return
            if number and number % every == 0:
                await world.sleep(pause)
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _RateLimited(Refusal):
    def __init__(self, seconds: int) -> None:
        super().__init__(429, f"Rate limit reached. Please try again in {seconds}s.")
        self.seconds = seconds


async def respond(
    send: Send, status: int, body: bytes, identity: str, extra: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Sends a JSON answer with the request id headers of both providers."""
    length = (b"content-length", str(len(body)).encode())
    await send(_start(status, b"application/json", identity, [length, *extra]))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, kind: bytes, identity: str, extra: Sequence[tuple[bytes, bytes]]) -> dict[str, object]:
    request_id = f"req_{identity}".encode()
    headers = [(b"content-type", kind), (b"x-request-id", request_id), (b"request-id", request_id), *extra]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _body(receive: Receive) -> bytes:
    message = await receive()
    if not message.get("more_body"):
        return bytes(message.get("body", b""))
    collected = bytearray(message.get("body", b""))
    while message.get("more_body"):
        message = await receive()
        collected += message.get("body", b"")
        if len(collected) > MAX_BODY_BYTES:
            raise Refusal(413, f"The request is larger than {MAX_BODY_BYTES} bytes.")
    return bytes(collected)


async def _say_nothing(fault: Fault, scope: Scope, receive: Receive) -> None:
    """Closes the connection (outage), or waits until the caller gives up (hang)."""
    if not fault.outage:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_HANG_SECONDS):
                await _disconnected(receive)
            return
    await _close(scope, receive)


async def _close(scope: Scope, receive: Receive) -> None:
    """Aborts the connection; a server without the extension gets an error to abort it with."""
    drop = scope.get("extensions", {}).get(DROP_EXTENSION)
    if drop is None:
        raise ConnectionAbortedError("the simulator closes this connection without an answer")
    drop()
    await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
