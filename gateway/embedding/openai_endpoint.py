"""Vectors from any server that speaks OpenAI's ``POST /embeddings``, through the official SDK."""

from collections.abc import Sequence

import aiohttp
import numpy as np
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient

from gateway.embedding.base import Vectors
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

_BATCH_TEXTS = 128
_BATCH_CHARACTERS = 200_000
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: ProviderRejectedKey,
    403: ProviderRejectedKey,
    404: ProviderUnknownModel,
    408: ProviderTimeout,
    429: ProviderRateLimited,
}


class OpenAIEmbedder:
    """One model of one endpoint. ``timeout`` and ``connect_timeout`` are seconds a request.

    Nothing is tried again here: a search has no time for it, and a document write is repeated by its caller.
    """

    def __init__(
        self, *, provider: str, model: str, base_url: str, api_key: str, timeout: float, connect_timeout: float
    ) -> None:
        self._provider = provider
        self._model = model
        self._dimensions = 0
        self._client = AsyncOpenAI(
            base_url=base_url or None,
            api_key=api_key or "none",  # the SDK refuses an empty key; servers without keys ignore it
            timeout=openai.Timeout(timeout, connect=connect_timeout),
            max_retries=0,
            http_client=DefaultAioHttpClient(),
        )

    @property
    def name(self) -> str:
        return f"{self._provider}/{self._model}"[:120]

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Raises a ProviderError whose message holds neither text nor key."""
        batches = [await self._request(batch) for batch in _batches(texts)]
        if not batches:
            return np.zeros((0, self._dimensions), dtype=np.float32)
        widths = {batch.shape[1] for batch in batches} | ({self._dimensions} if self._dimensions else set())
        if len(widths) != 1:
            raise self._error(ProviderMalformed, "answered with vectors of different lengths")
        self._dimensions = widths.pop()
        return np.concatenate(batches)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _request(self, texts: list[str]) -> Vectors:
        try:
            answer = await self._client.embeddings.create(model=self._model, input=texts, encoding_format="float")
            rows = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        except openai.APITimeoutError as error:
            if _never_connected(error):
                raise self._error(ProviderUnreachable, "cannot be reached") from error
            raise self._error(ProviderTimeout, "did not answer in time") from error
        except openai.APIConnectionError as error:
            raise self._error(ProviderUnreachable, "cannot be reached") from error
        except openai.APIStatusError as error:
            fallback = ProviderOverloaded if error.status_code >= 500 else ProviderRejectedRequest
            kind = _BY_STATUS.get(error.status_code, fallback)
            raise self._error(kind, f"answered with status {error.status_code}") from error
        except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
            raise self._error(ProviderMalformed, "answered with something that is no list of embeddings") from error
        return self._unit_rows(rows, len(texts))

    def _unit_rows(self, rows: Sequence[Sequence[float]], expected: int) -> Vectors:
        try:
            vectors = np.asarray(rows, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self._error(ProviderMalformed, "answered with vectors of different lengths") from error
        if vectors.ndim != 2 or len(vectors) != expected or not vectors.shape[1] or not np.isfinite(vectors).all():
            raise self._error(ProviderMalformed, f"did not answer with one finite vector for each of {expected} texts")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)

    def _error(self, kind: type[ProviderError], what: str) -> ProviderError:
        return kind(f"the embedding model {self.name} {what}", provider=self._provider, model=self._model)


def _never_connected(error: BaseException | None) -> bool:
    """The aiohttp transport reports a refused connection as a time-out; the first cause tells."""
    while error is not None and not isinstance(error, aiohttp.ClientConnectorError):
        error = error.__cause__
    return error is not None


def _batches(texts: Sequence[str]) -> list[list[str]]:
    """In order, each bounded in number and characters (a single longer text goes alone). No text may be empty there."""
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        if not batches or len(batches[-1]) == _BATCH_TEXTS or len(text) > room:
            batches.append([])
            room = _BATCH_CHARACTERS
        batches[-1].append(text if text.strip() else " ")
        room -= len(text)
    return batches
