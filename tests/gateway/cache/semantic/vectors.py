"""Vectors for tests, and an exact graph in the place of an approximate one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.cache.semantic.blocks import Graph, Nearest
from gateway.embedding.base import Vectors


def unit(dimensions: int, seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class ExactGraph:
    """What sealed blocks become; counts its searches."""

    def __init__(self, matrix: NDArray[np.float32], before: Graph | None = None) -> None:
        self.matrix = np.concatenate([before.matrix, matrix]) if isinstance(before, ExactGraph) else matrix.copy()
        self.searches = 0

    def nearest(self, vector: NDArray[np.float32], count: int, first: int) -> Nearest:
        self.searches += 1
        scores = self.matrix[first:] @ vector
        rows = np.argsort(-scores)[:count]
        return scores[rows], rows + first


class WrittenEmbedder:
    """Places texts where a test says; a text that is nowhere is far from everything else."""

    name = "written-1"
    dimensions = 16

    def __init__(self, places: dict[str, NDArray[np.float32]] | None = None) -> None:
        self.places = places or {}
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        if self.failure is not None:
            raise self.failure
        return np.stack([self.places.get(text, unit(16, sum(map(ord, text)) + 1_000)) for text in texts])

    async def aclose(self) -> None:
        pass


def beside(vector: NDArray[np.float32], cosine: float, seed: int = 99) -> NDArray[np.float32]:
    """A unit vector with this cosine to another one."""
    other = unit(len(vector), seed)
    other = other - float(other @ vector) * vector
    other = other / np.linalg.norm(other)
    return np.asarray(cosine * vector + np.sqrt(1 - cosine**2) * other, dtype=np.float32)
