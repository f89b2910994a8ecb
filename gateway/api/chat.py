"""``POST /v1/chat/completions``: the endpoint that the OpenAI SDK talks to."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.api.access import gateway_of, principal, read_json
from gateway.api.chat_request import read_call, wants_usage
from gateway.api.chat_response import chunk, completion, headers, last_chunks
from gateway.api.responses import JsonResponse, error_body, error_response, unexpected
from gateway.clock import new_id
from gateway.errors import Overloaded, PromptyardError
from gateway.types import Answer, Call, Delta

_encode = msgspec.json.Encoder(decimal_format="number").encode


async def chat_completions(request: Request) -> Response:
    """Answers, or streams when asked to. Errors before the first byte are plain HTTP errors."""
    gateway = gateway_of(request)
    call_id = new_id("call", gateway.clock)
    try:
        caller = await principal(request, "chat")
        body = await read_json(request)
        call = read_call(
            body, call_id=call_id, now=gateway.clock.now(), principal=caller, providers=gateway.provider_names
        )
        if not gateway.admit():
            raise Overloaded("the gateway has all the calls in flight that it takes", retry_after=1)
    except PromptyardError as error:
        gateway.metrics.refused.labels(error.code).inc()
        return error_response(error, call_id)
    handed_over = False
    try:
        if call.stream:
            response = await _stream(request, call, body)
            handed_over = True
            return response
        answer = await gateway.pipeline.answer(call)
        return JsonResponse(completion(answer), headers=headers(answer))
    except PromptyardError as error:
        return error_response(error, call_id)
    except Exception as error:
        return unexpected(error, request.url.path, call_id)
    finally:
        if not handed_over:
            gateway.release()


async def _stream(request: Request, call: Call, body: Mapping[str, object]) -> Response:
    gateway = gateway_of(request)
    pieces = gateway.pipeline.stream(call)
    first = await anext(pieces)  # raises what the chain raises, while a status code can still be sent

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            for event in _events(call, first, body):
                yield event
            async for piece in pieces:
                for event in _events(call, piece, body):
                    yield event
            yield b"data: [DONE]\n\n"
        except PromptyardError as error:
            yield _event(_partial(error, call))
        except Exception as error:
            unexpected(error, request.url.path, call.id)
            yield _event(_partial(PromptyardError("something went wrong inside the gateway"), call))

    async def finish() -> None:
        await pieces.aclose()
        gateway.release()

    return _Stream(
        events(),
        finish,
        headers={"x-promptyard-call-id": call.id, "cache-control": "no-cache", "x-accel-buffering": "no"},
    )


class _Stream(StreamingResponse):
    """Server-sent events that give back what they hold, even when the client left before the first one."""

    def __init__(
        self, events: AsyncIterator[bytes], finish: Callable[[], Awaitable[None]], headers: Mapping[str, str]
    ) -> None:
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._finish = finish

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._finish()


def _events(call: Call, piece: Delta | Answer, body: Mapping[str, object]) -> list[bytes]:
    if isinstance(piece, Answer):
        return [_event(value) for value in last_chunks(piece, with_usage=wants_usage(body))]
    return [_event(chunk(call, piece))]


def _partial(error: PromptyardError, call: Call) -> Mapping[str, object]:
    return {**error_body(error, call.id), "promptyard": {"call_id": call.id, "partial": True}}


def _event(value: object) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"
