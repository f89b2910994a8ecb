"""``POST /v1/embeddings``, which the OpenAI SDK talks to, and ``POST /v1/embed``, the plain one. Scope ``chat``.

Vectors are the model's own, at the length that it gave them. Texts of calls that arrive together, also of several
tenants, go to the provider in one request; nobody sees another's texts, vectors or errors.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from fastapi import APIRouter, Request
from msgspec import structs
from starlette.responses import Response

from gateway.api.access import described, gateway_of, principal, read_model
from gateway.api.embedding_request import EmbedBody, EmbeddingsBody, embedding_call
from gateway.api.embedding_response import EmbeddingList, PiecewiseResponse, VectorList, openai_list, plain_list
from gateway.api.once import REPLAY_HEADER, once
from gateway.api.responses import error_response, unexpected
from gateway.clock import new_id
from gateway.embed_pipeline import Embedding
from gateway.embedding.base import Input
from gateway.errors import Overloaded, PromptyardError
from gateway.idempotency.keys import HEADER
from gateway.types import Call

router = APIRouter(tags=["embeddings"])

Body = TypeVar("Body", EmbeddingsBody, EmbedBody)


@router.post(
    "/v1/embeddings",
    response_class=Response,
    responses={200: {"model": EmbeddingList}},
    openapi_extra=described(EmbeddingsBody),
)
async def embeddings(request: Request) -> Response:
    """Vectors in OpenAI's shape, as numbers or in base64."""
    return await _answer(
        request,
        EmbeddingsBody,
        lambda body: body.input,
        lambda body, made: openai_list(made, as_base64=body.encoding_format == "base64"),
    )


@router.post(
    "/v1/embed", response_class=Response, responses={200: {"model": VectorList}}, openapi_extra=described(EmbedBody)
)
async def embed(request: Request) -> Response:
    """One vector for each text, in order."""
    return await _answer(request, EmbedBody, lambda body: body.texts, lambda _, made: plain_list(made))


async def _answer(
    request: Request,
    kind: type[Body],
    inputs: Callable[[Body], Sequence[Input]],
    show: Callable[[Body, Embedding], AsyncIterator[bytes]],
) -> Response:
    gateway = gateway_of(request)
    call_id = new_id("call", gateway.clock)
    try:
        caller = await principal(request, "chat")
        body = await read_model(request, kind)
        call = embedding_call(
            body,
            call_id=call_id,
            now=gateway.clock.now(),
            principal=caller,
            providers=gateway.provider_names | gateway.embedding_models.providers,
            default=str(gateway.embedding_models.default),
        )
        if not gateway.admit():
            raise Overloaded("the gateway has all the calls in flight that it takes", retry_after=1)
    except PromptyardError as error:
        gateway.metrics.refused.labels(error.code).inc()
        return error_response(error, call_id)
    handed_over = False
    try:
        if HEADER in request.headers:
            return await _once(request, call, body, inputs, show)
        made = await gateway.embed_pipeline.embed(call, inputs(body))
        handed_over = True
        return PiecewiseResponse(made.answer, show(body, made), gateway.release)
    except PromptyardError as error:
        return error_response(error, call_id)
    except Exception as error:
        return error_response(unexpected(error, request.url.path, call_id), call_id)
    finally:
        if not handed_over:
            gateway.release()


async def _once(
    request: Request,
    call: Call,
    body: Body,
    inputs: Callable[[Body], Sequence[Input]],
    show: Callable[[Body, Embedding], AsyncIterator[bytes]],
) -> Response:
    """Under an Idempotency-Key the whole answer is kept, and given again as it was."""
    gateway = gateway_of(request)

    async def work(call_id: str) -> bytes:
        made = await gateway.embed_pipeline.embed(structs.replace(call, id=call_id), inputs(body))
        return b"".join([piece async for piece in show(body, made)])

    asked = body.model_dump(mode="json")
    data, replayed = await once(gateway, request, call.tenant, asked, call.id, work)
    headers = {REPLAY_HEADER: "true"} if replayed else {}
    return Response(data, media_type="application/json", headers=headers)
