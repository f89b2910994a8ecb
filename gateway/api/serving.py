"""What every endpoint that answers has in common: who asks, whole or streamed answers, errors, a caller who leaves.

A ``Face`` says in whose words. The endpoints are plain ASGI: a framework's per-route machinery would cost more than the
rest of a cached answer. Errors before the first byte are HTTP errors, later ones are the stream's last event.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct, structs
from starlette.types import Receive, Scope, Send

from gateway.api.access import BODIES, decode_object, late_body
from gateway.api.once import REPLAY_HEADER
from gateway.api.responses import RawHeaders, error_headers, unexpected
from gateway.auth.authenticator import require
from gateway.clock import new_id
from gateway.errors import (
    BodyTooLarge,
    BudgetExhausted,
    ClientGone,
    Conflict,
    MalformedBody,
    NotFound,
    Overloaded,
    PromptyardError,
    RateLimited,
)
from gateway.idempotency.claims import Claim, Replay
from gateway.idempotency.codec import decode as decode_answer
from gateway.idempotency.codec import encode as encode_answer
from gateway.idempotency.keys import fingerprint
from gateway.types import Answer, Call, Delta, Principal

if TYPE_CHECKING:
    from gateway.compose import Gateway

STALLED_SECONDS = 30.0
"""A caller that takes nothing off a stream for so long is treated as gone."""
LARGE = 65_536

_NEVER_RECORDED = (Overloaded, RateLimited, BudgetExhausted, NotFound, Conflict)
"""Refusals that come before the ledger hears of a call."""

_encode = msgspec.json.Encoder(decimal_format="number").encode
_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Asker(Struct, frozen=True):
    """Who asks, when, and the id that the call will have. ``providers`` are the names that a model may begin with."""

    call_id: str
    now: float
    principal: Principal
    providers: frozenset[str]


class StreamWriter(Protocol):
    """One stream in the words of a protocol: server-sent events, as bytes. Empty bytes are not sent."""

    def piece(self, delta: Delta) -> bytes: ...

    def last(self, answer: Answer) -> bytes:
        """All that remains, the terminator included."""
        ...

    def broken(self, error: PromptyardError) -> bytes:
        """The structured error that ends a stream early, marked partial."""
        ...


class Face(Protocol):
    """One protocol: its request as a Call, an Answer in its words. Pure."""

    def read(self, body: Mapping[str, Any], asker: Asker) -> Call:
        """Raises InvalidRequest, which names the field."""
        ...

    def whole(self, answer: Answer) -> Any:
        """A value that JSON can hold."""
        ...

    def writer(self, call: Call, body: Mapping[str, Any]) -> StreamWriter: ...

    def refusal(self, error: PromptyardError, call_id: str) -> Any:
        """An error's body."""
        ...


class Answering:
    """An ASGI application: one endpoint that answers calls for keys with ``scope``."""

    def __init__(self, face: Face, *, scope: str = "chat") -> None:
        self._face = face
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gateway: Gateway = scope["app"].state.gateway
        call_id = new_id("call", gateway.clock)
        try:
            asked = await self._read(gateway, scope, receive, call_id)
            if not asked.idempotency_key:
                await self._admitted(gateway, asked, receive, send)
            else:
                await self._once(gateway, asked, scope["path"], receive, send)
        except PromptyardError as error:
            await self._refuse(send, error, call_id)
        except Exception as error:
            await self._refuse(send, unexpected(error, scope["path"], call_id), call_id)

    async def _admitted(
        self, gateway: "Gateway", asked: "_Asked", receive: Receive, send: Send, claim: Claim | None = None
    ) -> None:
        """Answer, if there is a place among the calls in flight."""
        if not gateway.admit():
            gateway.metrics.refused.labels(Overloaded.code).inc()
            raise Overloaded("the gateway has all the calls in flight that it takes", retry_after=1)
        try:

            async def kept(answer: Answer) -> Answer:
                return answer if claim is None else await _keep(gateway, claim, answer)

            if asked.call.stream:
                await self._stream(self.pieces(gateway, asked.call, asked.body), asked, receive, send, kept)
            else:
                answer = await kept(await self.whole(gateway, asked.call, asked.body))
                await _send_json(send, 200, answer_headers(answer), self._face.whole(answer))
        finally:
            gateway.release()

    async def whole(self, gateway: "Gateway", call: Call, body: Mapping[str, Any]) -> Answer:
        """The answer. An endpoint with more to do before or after a call overrides this and ``pieces``."""
        return await gateway.pipeline.answer(call)

    def pieces(self, gateway: "Gateway", call: Call, body: Mapping[str, Any]) -> AsyncGenerator[Delta | Answer, None]:
        return gateway.pipeline.stream(call)

    async def _once(self, gateway: "Gateway", asked: "_Asked", path: str, receive: Receive, send: Send) -> None:
        """Answer under an Idempotency-Key: work, or give what was answered before, in the form that is asked for."""
        call = asked.call
        mark = fingerprint(path, asked.body)
        claim = await gateway.idempotency.begin(call.tenant, asked.idempotency_key, mark, call.id)
        if isinstance(claim, Replay):
            answer = decode_answer(claim.outcome)
            gateway.metrics.replayed.inc()
            if call.stream:
                await self._stream(_again(answer), asked, receive, send, _as_it_is)
            else:
                headers = [*answer_headers(answer), (REPLAY_HEADER.encode(), b"true")]
                await _send_json(send, 200, headers, self._face.whole(answer))
            return
        recorded = True
        try:
            asked = structs.replace(asked, call=structs.replace(call, id=claim.call_id))
            await self._admitted(gateway, asked, receive, send, claim)
        except _NEVER_RECORDED:
            recorded = False
            raise
        finally:
            await gateway.idempotency.release(claim, recorded=recorded)

    async def _read(self, gateway: "Gateway", scope: Scope, receive: Receive, call_id: str) -> "_Asked":
        try:
            return await self._understand(gateway, scope, receive, call_id)
        except PromptyardError as error:
            gateway.metrics.refused.labels(error.code).inc()
            raise

    async def _understand(self, gateway: "Gateway", scope: Scope, receive: Receive, call_id: str) -> "_Asked":
        """Who has no key may not make us read a body."""
        headers = dict(scope["headers"])
        authorization, api_key = headers.get(b"authorization"), headers.get(b"x-api-key")
        principal = await gateway.authenticator.authenticate(
            authorization.decode("latin-1") if authorization else None, api_key.decode("latin-1") if api_key else None
        )
        require(principal, self._scope)
        raw = await _body(receive, headers.get(b"content-length", b""), gateway.settings.max_body_bytes)
        body = decode_object(raw)
        call = self._face.read(body, Asker(call_id, gateway.clock.now(), principal, gateway.provider_names))
        return _Asked(call, body, headers.get(b"idempotency-key", b"").decode("latin-1"))

    async def _refuse(self, send: Send, error: PromptyardError, call_id: str) -> None:
        if isinstance(error, ClientGone):
            return
        headers = [(name.encode(), value.encode()) for name, value in error_headers(error, call_id).items()]
        await _send_json(send, error.status, headers, self._face.refusal(error, call_id))

    async def _stream(
        self,
        pieces: AsyncGenerator[Delta | Answer, None],
        asked: "_Asked",
        receive: Receive,
        send: Send,
        kept: Callable[[Answer], Awaitable[Answer]],
    ) -> None:
        """Send until the end, or until the caller has left: then the upstream call is cancelled."""
        call = asked.call
        writer = self._face.writer(call, asked.body)
        pump = asyncio.create_task(_pump(pieces, writer, call.id, send, kept), name=f"stream {call.id}")
        watch = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((pump, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            watch.cancel()
            await asyncio.wait((pump, watch))
        if not pump.cancelled():
            pump.result()


class _Asked(Struct, frozen=True):
    call: Call
    body: Mapping[str, Any]
    idempotency_key: str


async def _keep(gateway: "Gateway", claim: Claim, answer: Answer) -> Answer:
    """What replays will get, which is this answer unless another worker was first."""
    mine = encode_answer(answer)
    counts = await gateway.idempotency.finish(claim, mine)
    return answer if counts == mine else decode_answer(counts)


async def _as_it_is(answer: Answer) -> Answer:
    return answer


async def _again(answer: Answer) -> AsyncGenerator[Delta | Answer, None]:
    yield Delta(delta=dict(answer.reply.message))
    yield answer


async def _pump(
    pieces: AsyncGenerator[Delta | Answer, None],
    writer: StreamWriter,
    call_id: str,
    send: Send,
    kept: Callable[[Answer], Awaitable[Answer]],
) -> None:
    """Raises what the chain raises before the first byte, while a status code can still be sent."""
    started = False
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                data = writer.last(await kept(piece)) if isinstance(piece, Answer) else writer.piece(piece)
                if not started:
                    started = True
                    headers = [*_STREAM_HEADERS, (b"x-promptyard-call-id", call_id.encode())]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                if data:
                    await _send_in_time(send, data, more=True)
    except ClientGone:
        raise
    except PromptyardError as error:
        if not started:
            raise
        await _send_in_time(send, writer.broken(error), more=True)
    except Exception as error:
        if not started:
            raise
        await _send_in_time(send, writer.broken(unexpected(error, "a stream", call_id)), more=True)
    await _send_in_time(send, b"", more=False)


async def _send_in_time(send: Send, data: bytes, *, more: bool) -> None:
    """Raises ClientGone when the caller takes nothing any more."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await send({"type": "http.response.body", "body": data, "more_body": more})
    except TimeoutError:
        raise ClientGone("the caller took nothing off the stream") from None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive, declared: bytes, limit: int) -> bytes:
    """Raises BodyTooLarge as soon as the bound is passed, whatever Content-Length claims."""
    if declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(f"the body has {int(declared)} bytes, {limit} are allowed")
    try:
        async with BODIES.wait():
            message = await receive()
            if not message.get("more_body") and message["type"] == "http.request":
                return _bounded(message.get("body", b""), limit)
            pieces: list[bytes] = []
            size = 0
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientGone("the caller left before its body had arrived")
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    raise BodyTooLarge(f"the body has more than {limit} bytes")
                if not message.get("more_body"):
                    return b"".join(pieces)
                message = await receive()
    except TimeoutError:
        raise late_body() from None


def _bounded(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise BodyTooLarge(f"the body has more than {limit} bytes")
    if not body:
        raise MalformedBody("the body is empty")
    return body


async def _send_json(send: Send, status: int, headers: RawHeaders, value: Any) -> None:
    data = _encode(value)
    head = [_JSON, (b"content-length", b"%d" % len(data)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    if len(data) < LARGE:
        await send({"type": "http.response.body", "body": data})
    else:
        await _send_in_time(send, data, more=False)


def answer_headers(answer: Answer) -> RawHeaders:
    """Where the answer came from, for those who do not read bodies."""
    call, reply, paid = answer.call, answer.reply, answer.paid_usd
    headers = [
        (b"x-promptyard-call-id", call.id.encode()),
        (b"x-promptyard-cache", answer.layer.encode()),
        (b"x-promptyard-provider", reply.provider.encode("latin-1", "replace")),
        (b"x-promptyard-model", reply.model.encode("latin-1", "replace")),
        (b"x-promptyard-attempts", b"%d" % len(reply.attempts)),
        (b"x-promptyard-cost-usd", b"unknown" if paid is None else f"{paid:f}".encode()),
    ]
    if call.version:
        headers.append((b"x-promptyard-prompt", call.version.ref.encode("latin-1", "replace")))
    return headers
