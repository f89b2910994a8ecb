"""Vectors side by side, in blocks: numpy multiplies an open block whole; a full one may become a graph (HNSW).

A graph answers from 20,000 vectors in a fraction of the time, and takes seconds to build; nothing can be taken out of
it, and nobody may search it while it grows. So blocks are sealed whole, once, and the open one stays a matrix.
"""

import importlib.util
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.cache.semantic.items import Vector

if TYPE_CHECKING:
    import faiss

BLOCK = 20_000
"""Vectors of a block; up to here numpy is as fast as a graph."""

_SMALLEST = 64
_NEIGHBOURS = 16  # links of a vector in the graph; twice as many on its lowest level
_BUILD_BREADTH = 80
_SEARCH_BREADTH = 48
_GRAPH_CELLS = 1_000_000  # multiplications of a matrix that take as long as a search of a graph

Nearest = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Similarities, falling, and the rows that they are of."""


class Graph(Protocol):
    """An immutable index of one block."""

    def nearest(self, vector: Vector, count: int) -> Nearest: ...


class Block:
    """Grows to ``capacity`` rows. A row that was taken out is a row of zeros, which is similar to nothing."""

    def __init__(self, capacity: int = BLOCK) -> None:
        self.capacity = capacity
        self.count = 0
        self.graph: Graph | None = None
        self.texts: list[str | None] = []
        self.ends: list[float] = []
        """Unix seconds."""
        self.answers: list[int] = []
        """Fingerprints."""
        self._matrix: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    @property
    def full(self) -> bool:
        return self.count >= self.capacity

    @property
    def matrix(self) -> NDArray[np.float32]:
        """Shape (count, dimensions); of no rows once the graph has them."""
        return self._matrix[: self.count]

    def add(self, text: str, vector: Vector, expires_at: float, answer: int = 0) -> int:
        """Returns the row. The block must not be full."""
        if self.count >= len(self._matrix):
            grown = np.zeros((min(self.capacity, max(_SMALLEST, 2 * self.count)), len(vector)), dtype=np.float32)
            if self.count:
                grown[: self.count] = self.matrix
            self._matrix = grown  # who is searching keeps the old one
        self._matrix[self.count] = vector
        self.texts.append(text)
        self.ends.append(expires_at)
        self.answers.append(answer)
        self.count += 1
        return self.count - 1

    def take_out(self, row: int) -> None:
        self.texts[row] = None
        if self.graph is None:
            self._matrix[row] = 0.0

    def seal(self, graph: Graph) -> None:
        """Searched by the graph from now on, which has the vectors itself."""
        self.graph = graph
        self._matrix = np.zeros((0, 0), dtype=np.float32)

    def view(self) -> "View":
        """What a search needs, unmoved by what comes after."""
        return View(self, self.graph, self.matrix)


class View:
    """A block as it was when it was asked for; may be searched in another thread."""

    def __init__(self, block: Block, graph: Graph | None, matrix: NDArray[np.float32]) -> None:
        self.block = block
        # How much work it is to search it.
        self.cells = _GRAPH_CELLS if graph is not None else matrix.size
        self._graph = graph
        self._matrix = matrix

    def nearest(self, vector: Vector, count: int) -> Nearest:
        if self._graph is not None:
            return self._graph.nearest(vector, count)
        scores = self._matrix @ vector
        every = count >= len(scores)
        rows = np.arange(len(scores)) if every else np.argpartition(scores, -count)[-count:]
        rows = rows[np.argsort(scores[rows])[::-1]]
        return scores[rows], rows


def graphs_available() -> bool:
    """Whether FAISS is installed (the extra ``faiss``)."""
    return importlib.util.find_spec("faiss") is not None


def build_graph(matrix: NDArray[np.float32]) -> Graph:
    """Takes some 0.2 ms a vector on one core, most of it outside of Python's lock. Needs FAISS."""
    import faiss

    faiss.omp_set_num_threads(1)  # beside an event loop, a search must not wait for other cores
    index = faiss.IndexHNSWFlat(matrix.shape[1], _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _BUILD_BREADTH
    index.hnsw.efSearch = _SEARCH_BREADTH
    index.add(np.ascontiguousarray(matrix))
    return _Hnsw(index)


class _Hnsw:
    def __init__(self, index: "faiss.IndexHNSWFlat") -> None:
        self._index = index

    def nearest(self, vector: Vector, count: int) -> Nearest:
        scores, rows = self._index.search(vector.reshape(1, -1), count)
        found = rows[0] >= 0
        return scores[0][found], rows[0][found]
