"""Vectors from any server that speaks OpenAI's ``POST /embeddings``, over the official SDK's connection.

Protocol: https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence

import aiohttp
import httpx2
import msgspec
import numpy as np
import openai
from msgspec import Struct
from openai import AsyncOpenAI, DefaultAioHttpClient

from gateway.embedding.base import Embedded, Input, Options, Vectors, estimate_tokens, share_tokens, unit_rows
from gateway.errors import (
    ProviderError,
    ProviderMalformed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedKey,
    ProviderRejectedRequest,
    ProviderTimeout,
    ProviderUnknownModel,
    ProviderUnreachable,
)

_BATCH_INPUTS = 128
_BATCH_TOKENS = 50_000
_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: ProviderRejectedKey,
    402: ProviderRejectedKey,
    403: ProviderRejectedKey,
    404: ProviderUnknownModel,
    408: ProviderTimeout,
    429: ProviderRateLimited,
    504: ProviderTimeout,
}


class _Row(Struct):
    embedding: str | list[float]  # base64 of little-endian float32, from servers that know it
    index: int | None = None


class _Usage(Struct):
    prompt_tokens: int = 0


class _Answer(Struct):
    data: list[_Row]
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def open_client(*, base_url: str, api_key: str, timeout: float, connect_timeout: float) -> AsyncOpenAI:
    """The connections to one server, for all of its models. ``timeout`` and ``connect_timeout``: seconds a request."""
    return AsyncOpenAI(
        base_url=base_url or None,
        api_key=api_key or "none",  # the SDK refuses an empty key; servers without keys ignore it
        timeout=openai.Timeout(timeout, connect=connect_timeout),
        max_retries=0,
        http_client=DefaultAioHttpClient(follow_redirects=False),  # a redirect could carry the key to another host
    )


class OpenAIEmbedder:
    """One model of one server under fixed ``options``. Nothing is tried again here.

    Many inputs go in several requests, one after the other.
    """

    def __init__(self, *, provider: str, model: str, client: AsyncOpenAI, options: Options | None = None) -> None:
        self._provider = provider
        self._model = model
        self._client = client
        self._options = dict(options or {})
        self._dimensions = 0

    @property
    def name(self) -> str:
        suffix = ""
        if self._options:
            canonical = msgspec.json.encode(self._options, order="deterministic")
            suffix = "#" + hashlib.sha256(canonical).hexdigest()[:16]
        return f"{self._provider}/{self._model}"[: 120 - len(suffix)] + suffix

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises a ProviderError whose message holds neither text nor key."""
        return unit_rows((await self.answer(texts)).vectors)

    async def answer(self, inputs: Sequence[Input]) -> Embedded:
        """Raises a ProviderError whose message holds neither text nor key."""
        answers = [await self._request(batch) for batch in _batches(inputs)]
        if not answers:
            return Embedded(np.zeros((0, self._dimensions), dtype=np.float32), ())
        widths = {one.vectors.shape[1] for one in answers} | ({self._dimensions} if self._dimensions else set())
        if len(widths) != 1:
            raise self._error(ProviderMalformed, "answered with vectors of different lengths")
        self._dimensions = widths.pop()
        vectors = np.concatenate([one.vectors for one in answers])
        return Embedded(vectors, tuple(count for one in answers for count in one.tokens))

    async def aclose(self) -> None:
        """Close the connections, also those of other models on this client."""
        await self._client.close()

    async def _request(self, inputs: list[Input]) -> Embedded:
        # base64 is what the SDK itself asks for: a tenth of the time that decimal digits take to read
        body = {**self._options, "model": self._model, "input": inputs, "encoding_format": "base64"}
        try:
            response = await self._client.post("/embeddings", cast_to=httpx2.Response, body=body)
            answer = _decode(response.content)
        except openai.APITimeoutError as error:
            if _never_connected(error):
                raise self._error(ProviderUnreachable, "cannot be reached") from None
            raise self._error(ProviderTimeout, "did not answer in time") from None
        except openai.APIConnectionError:
            raise self._error(ProviderUnreachable, "cannot be reached") from None
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except (openai.OpenAIError, msgspec.MsgspecError, UnicodeDecodeError):
            raise self._error(ProviderMalformed, "answered with something that is no list of embeddings") from None
        counted = answer.usage.prompt_tokens if answer.usage else 0
        total = counted if counted > 0 else sum(map(estimate_tokens, inputs))
        return Embedded(self._vectors(answer.data, len(inputs)), share_tokens(total, inputs))

    def _vectors(self, rows: Sequence[_Row], expected: int) -> Vectors:
        if any(row.index is not None for row in rows):
            by_index = {row.index: row for row in rows}
            rows = [by_index[place] for place in range(expected) if place in by_index]
        try:
            vectors = np.asarray([_numbers(row.embedding) for row in rows], dtype=np.float32)
        except ValueError:
            raise self._error(ProviderMalformed, "answered with vectors of different lengths") from None
        if vectors.ndim != 2 or len(vectors) != expected or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise self._error(ProviderMalformed, f"did not answer with one finite vector for each of {expected} inputs")
        return vectors

    def _refused(self, error: openai.APIStatusError) -> ProviderError:
        fallback = ProviderOverloaded if error.status_code >= 500 else ProviderRejectedRequest
        kind = _BY_STATUS.get(error.status_code, fallback)
        told = self._error(kind, f"answered with status {error.status_code}")
        told.retry_after = _seconds(error.response.headers.get("retry-after", ""))
        return told

    def _error(self, kind: type[ProviderError], what: str) -> ProviderError:
        return kind(
            f"the embedding model {self._provider}/{self._model} {what}", provider=self._provider, model=self._model
        )


def _numbers(embedding: str | list[float]) -> Sequence[float] | Vectors:
    """Raises ``ValueError`` for what is no base64 of float32."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return embedding


def _seconds(header: str) -> float | None:
    """``Retry-After`` in its form of a number; a date is not obeyed to the second and counts as none."""
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _never_connected(error: BaseException | None) -> bool:
    """The aiohttp transport reports a refused connection as a time-out; the first cause tells."""
    while error is not None and not isinstance(error, aiohttp.ClientConnectorError):
        error = error.__cause__
    return error is not None


def _batches(inputs: Sequence[Input]) -> list[list[Input]]:
    """In order, each bounded in number and size, of texts only or of tokens only (a longer input goes alone).

    No text may be empty there.
    """
    batches: list[list[Input]] = []
    room = 0
    for one in inputs:
        size = estimate_tokens(one)
        mixed = bool(batches) and isinstance(batches[-1][0], str) is not isinstance(one, str)
        if not batches or len(batches[-1]) == _BATCH_INPUTS or size > room or mixed:
            batches.append([])
            room = _BATCH_TOKENS
        batches[-1].append(" " if isinstance(one, str) and not one.strip() else one)
        room -= size
    return batches
