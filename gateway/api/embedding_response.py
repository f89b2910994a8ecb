"""An Embedding in OpenAI's shape and in the plain one, in pieces: thousands of rows must not hold up other calls."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.serving import STALLED_SECONDS, answer_headers
from gateway.embed_pipeline import Embedding
from gateway.types import Answer

_ROWS_A_PIECE = 32
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Try(BaseModel):
    provider: str
    model: str
    latency_ms: float
    error: str | None


class Told(BaseModel):
    """Where the vectors came from; ``cost_usd`` is null where the price is unknown."""

    call_id: str
    provider: str
    model: str
    dimensions: int
    attempts: list[Try]
    cost_usd: float | None


class Used(BaseModel):
    prompt_tokens: int
    total_tokens: int


class OneEmbedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """A string: little-endian float32 in base64."""


class EmbeddingList(BaseModel):
    """OpenAI's answer, and where it came from."""

    object: Literal["list"]
    data: list[OneEmbedding]
    model: str
    usage: Used
    promptyard: Told


class VectorList(BaseModel):
    """The plain answer: one vector for each text, in order."""

    vectors: list[list[float]]
    model: str
    usage: Used
    promptyard: Told


def openai_list(embedding: Embedding, *, as_base64: bool) -> AsyncIterator[bytes]:
    """JSON of an ``EmbeddingList``."""
    packed = embedding.vectors.astype("<f4", copy=False)

    def row(place: int) -> dict[str, Any]:
        numbers = packed[place]
        shown = base64.b64encode(numbers.tobytes()).decode() if as_base64 else numbers.tolist()
        return {"object": "embedding", "index": place, "embedding": shown}

    return _pieces({"object": "list"}, "data", len(packed), row, _about(embedding))


def plain_list(embedding: Embedding) -> AsyncIterator[bytes]:
    """JSON of a ``VectorList``."""
    vectors = embedding.vectors
    return _pieces({}, "vectors", len(vectors), lambda place: vectors[place].tolist(), _about(embedding))


async def _pieces(
    head: Mapping[str, Any], name: str, rows: int, row: Callable[[int], Any], tail: Mapping[str, Any]
) -> AsyncIterator[bytes]:
    opening = _encode(head)[:-1]
    yield opening + (b"," if head else b"") + _encode(name) + b":["
    for start in range(0, rows, _ROWS_A_PIECE):
        some = _encode([row(place) for place in range(start, min(rows, start + _ROWS_A_PIECE))])
        yield (b"," if start else b"") + some[1:-1]
        await asyncio.sleep(0)  # encoding is all CPU: let others have a turn
    yield b"]," + _encode(tail)[1:]


def _about(embedding: Embedding) -> dict[str, Any]:
    answer = embedding.answer
    used = answer.reply.usage.input_tokens
    return {
        "model": answer.reply.model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
        "promptyard": _told(answer, int(np.shape(embedding.vectors)[1])),
    }


def _told(answer: Answer, dimensions: int) -> dict[str, Any]:
    reply = answer.reply
    return {
        "call_id": answer.call.id,
        "provider": reply.provider,
        "model": reply.model,
        "dimensions": dimensions,
        "attempts": [
            {"provider": a.provider, "model": a.model, "latency_ms": round(a.latency_ms, 1), "error": a.error or None}
            for a in reply.attempts
        ],
        "cost_usd": answer.paid_usd,
    }


class PiecewiseResponse(Response):
    """A JSON body sent as it is made. ``finish`` is called at its end, however it ends.

    A caller that takes nothing for ``STALLED_SECONDS`` is cut off.
    """

    def __init__(self, answer: Answer, pieces: AsyncIterator[bytes], finish: Callable[[], None]) -> None:
        super().__init__(media_type="application/json")
        self._pieces = pieces
        self._finish = finish
        self.raw_headers = [(b"content-type", b"application/json"), *answer_headers(answer)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for piece in self._pieces:
                async with asyncio.timeout(STALLED_SECONDS):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()
