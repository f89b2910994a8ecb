"""A collection in memory: immutable snapshots over one growing matrix.

Rows are only ever appended, and a snapshot looks at the first ``size`` of them. A changed document's old rows are
marked with the number of the snapshot in which they died; older snapshots still see them. So a change costs what the
change costs, searches that are under way keep what they have, and nothing waits. Room is doubled when it runs out, and
more dead rows than living ones are left behind in a copy: both at a cost that is constant for each row ever added.

Only the newest snapshot may grow in place. One that was overtaken (its successor was thrown away, or two were made of
it) grows in a copy.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.embedding.base import Vectors
from gateway.types import Passage

_NEVER = np.iinfo(np.int64).max
_LEAST_ROOM = 64


class LoadedDocument(Struct, frozen=True):
    """A document as read from SQL. ``vectors`` has one row for each of ``texts``; a deleted one has none."""

    id: str
    version: int
    title: str
    texts: Sequence[str]
    vectors: Vectors


class _Rows:
    """What snapshots share. ``places``, ``size``, ``dead`` and ``newest`` are the newest snapshot's, and its alone."""

    def __init__(self, room: int, dimensions: int) -> None:
        self.vectors = np.empty((room, dimensions), dtype=np.float32)
        self.owners = np.empty(room, dtype=np.int32)
        self.died = np.full(room, _NEVER, dtype=np.int64)
        self.chunks: list[tuple[LoadedDocument, int]] = []
        self.places: dict[str, tuple[int, int]] = {}
        self.size = 0
        self.dead = 0
        self.newest = 0
        self.lock = threading.Lock()

    def claim(self, number: int) -> bool:
        """Whether the snapshot of this number is the newest; then the next number is the caller's."""
        with self.lock:
            if self.newest != number:
                return False
            self.newest += 1
            return True

    def bury(self, id: str, number: int) -> None:
        first, end = self.places.pop(id, (0, 0))
        self.died[first:end] = number
        self.dead += end - first

    def add(self, document: LoadedDocument) -> None:
        first, end = self.size, self.size + len(document.texts)
        self.vectors[first:end] = document.vectors
        self.owners[first:end] = first
        # The vectors are in the matrix now: what is kept of the document is the rest.
        slim = LoadedDocument(document.id, document.version, document.title, document.texts, self.vectors[:0])
        self.chunks.extend((slim, seq) for seq in range(len(document.texts)))
        self.places[document.id] = (first, end)
        self.size = end


class Index:
    """All chunks of a collection at ``revision``. Safe to read from any thread; ``updated`` is for one at a time."""

    def __init__(self, revision: int = 0, rows: _Rows | None = None, number: int = 0) -> None:
        self.revision = revision
        self._rows = rows
        self._number = number
        self._size = rows.size if rows else 0

    @property
    def size(self) -> int:
        """Rows that a search goes through, the dead ones included."""
        return self._size

    @property
    def cells(self) -> int:
        """Numbers that a search multiplies, for each question."""
        return self._size * (self._rows.vectors.shape[1] if self._rows else 0)

    @property
    def owners(self) -> NDArray[np.int32]:
        """Shape (size,): equal for chunks of one document."""
        return self._rows.owners[: self._size] if self._rows else np.zeros(0, dtype=np.int32)

    def scores(self, questions: Vectors) -> NDArray[np.float32]:
        """Shape (size, questions): cosines, for unit vectors of shape (questions, dimensions); -1 for dead rows."""
        if self._rows is None or not self._size:
            return np.zeros((0, len(questions)), dtype=np.float32)
        scores: NDArray[np.float32] = self._rows.vectors[: self._size] @ questions.T
        scores[self._rows.died[: self._size] <= self._number] = -1.0
        return scores

    def place(self, row: int) -> tuple[str, int]:
        """Document id and seq of a row: the order in which equal scores come."""
        assert self._rows is not None  # noqa: S101 (there is no row without)
        document, seq = self._rows.chunks[row]
        return document.id, seq

    def passage(self, row: int, score: float) -> Passage:
        """The chunk of a row as the rest of the gateway knows it."""
        assert self._rows is not None  # noqa: S101 (there is no row without)
        document, seq = self._rows.chunks[row]
        return Passage(
            document=document.id, version=document.version, title=document.title, text=document.texts[seq], score=score
        )

    def cost_of(self, changed: Sequence[LoadedDocument]) -> int:
        """Numbers that ``updated`` will copy."""
        added = sum(document.vectors.size for document in changed)
        return added if self._fits(changed) else added + self.cells

    def updated(self, revision: int, changed: Sequence[LoadedDocument]) -> "Index":
        """The index after these documents changed; one without chunks is gone."""
        rows, number = self._rows, self._number + 1
        if rows is None or not self._fits(changed) or not rows.claim(self._number):
            rows, number = self._copied({document.id for document in changed}, changed), 0
        for document in changed:
            rows.bury(document.id, number)
            if document.texts:
                rows.add(document)
        return Index(revision, rows, number)

    def _fits(self, changed: Sequence[LoadedDocument]) -> bool:
        """Whether it can grow where it is, and has not too much of the past in it."""
        rows = self._rows
        if rows is None or rows.newest != self._number:
            return False
        added = sum(len(document.texts) for document in changed)
        if any(document.texts and document.vectors.shape[1] != rows.vectors.shape[1] for document in changed):
            return False  # it knows nothing but deleted documents yet, and has no width
        return rows.size + added <= len(rows.died) and rows.dead <= max(_LEAST_ROOM, rows.size // 2)

    def _copied(self, without: set[str], changed: Iterable[LoadedDocument]) -> _Rows:
        """The living rows of this snapshot in a matrix of their own, with room for as many again."""
        alive: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        width = 0
        if self._rows is not None:
            living = np.flatnonzero(self._rows.died[: self._size] > self._number)
            alive = np.array([row for row in living if self._rows.chunks[row][0].id not in without], dtype=np.intp)
            width = self._rows.vectors.shape[1]
        changed = list(changed)
        width = next((document.vectors.shape[1] for document in changed if document.texts), width)
        added = sum(len(document.texts) for document in changed)
        rows = _Rows(max(_LEAST_ROOM, 2 * (len(alive) + added)), width)
        if self._rows is not None and len(alive):
            rows.vectors[: len(alive)] = self._rows.vectors[alive]
            for row in alive:
                document, seq = self._rows.chunks[row]
                first = rows.places.get(document.id, (rows.size, 0))[0]
                rows.owners[rows.size] = first
                rows.chunks.append((document, seq))
                rows.size += 1
                rows.places[document.id] = (first, rows.size)
        return rows
