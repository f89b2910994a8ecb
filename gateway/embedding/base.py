"""The ports of everything that turns text into vectors."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.types import Attempt

Vectors = NDArray[np.float32]
"""Shape (n, dimensions), one row a text."""

Input = str | Sequence[int]
"""A text, or the tokens of one as its model numbers them."""

Options = Mapping[str, Any]
"""Fields of OpenAI's embeddings request beside ``model`` and ``input``, such as ``dimensions``."""

_CHARACTERS_A_TOKEN = 4


class Embedded(Struct, frozen=True):
    """What a model answered: one row and one number of tokens for each input, in order.

    Rows are as the model gave them. Tokens of inputs that shared a request share what it was charged, by length; their
    sum is exact. ``attempts`` are the tries of the request that answered.
    """

    vectors: Vectors
    tokens: tuple[int, ...]
    attempts: tuple[Attempt, ...] = ()


class Embedder(Protocol):
    """Maps texts to vectors whose dot product is their cosine similarity.

    The same name promises the same vector for the same text, for ever: vectors are stored under it.
    """

    @property
    def name(self) -> str:
        """Model and version (at most 120 characters); part of every key that depends on a vector."""

    @property
    def dimensions(self) -> int:
        """Length of a vector; 0 while it is not known yet (a remote model before its first answer)."""

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order, of unit length, or all zero (a text without any feature).

        Shape (0, dimensions) for none. Raises a ProviderError on failure.
        """

    async def aclose(self) -> None:
        """Let go of connections."""


class EmbeddingModel(Embedder, Protocol):
    """An Embedder that also tells what its answer took."""

    async def answer(self, inputs: Sequence[Input]) -> Embedded:
        """Raises a ProviderError on failure, and InvalidRequest for inputs that this model cannot take."""


class AroundModel(ABC):
    """An EmbeddingModel around another one, whose name and size it has."""

    def __init__(self, inner: EmbeddingModel) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def dimensions(self) -> int:
        return self._inner.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As ``answer``, at unit length."""
        return unit_rows((await self.answer(texts)).vectors)

    @abstractmethod
    async def answer(self, inputs: Sequence[Input]) -> Embedded: ...

    async def aclose(self) -> None:
        await self._inner.aclose()


def unit_rows(vectors: NDArray[Any]) -> Vectors:
    """The rows at unit length; rows of zeros stay."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)


def estimate_tokens(one: Input) -> int:
    """Tokens of an input before anybody counted them: four characters each, which is near for English prose."""
    return -(-len(one) // _CHARACTERS_A_TOKEN) if isinstance(one, str) else len(one)


def share_tokens(total: int, inputs: Sequence[Input]) -> tuple[int, ...]:
    """``total`` split by length into whole numbers whose sum is ``total`` (largest remainders first)."""
    weights = [max(1, estimate_tokens(one)) for one in inputs]
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(inputs)), key=lambda place: -(total * weights[place] % whole))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return tuple(shares)
