"""The port of everything that turns text into vectors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Shape (n, dimensions), one row a text, each row of unit length or all zero (a text without any feature)."""


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
        """One row for each text, in order; shape (0, dimensions) for none. Raises a ProviderError on failure."""

    async def aclose(self) -> None:
        """Let go of connections."""
