"""An immutable snapshot of a collection in memory. A change makes a new one; readers keep theirs."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from gateway.embedding.base import Vectors
from gateway.types import Passage


class LoadedDocument(Struct, frozen=True):
    """A document as read from SQL. ``vectors`` has one row for each of ``texts``; a deleted one has none."""

    id: str
    version: int
    title: str
    texts: Sequence[str]
    vectors: Vectors


def _nothing() -> Vectors:
    return np.zeros((0, 0), dtype=np.float32)


class Index(Struct, frozen=True):
    """All chunks of a collection at ``revision``, in order of (document id, seq).

    The order makes an index that grew change by change the same as one that was loaded at once.
    """

    revision: int = 0
    documents: Mapping[str, LoadedDocument] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=_nothing)
    """Shape (chunks, dimensions)."""
    owners: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    """Shape (chunks,): the position of each chunk's document."""
    rows: Sequence[tuple[str, int]] = ()
    """Document id and seq of each chunk."""

    def updated(self, revision: int, changed: Iterable[LoadedDocument]) -> "Index":
        """The index after these documents changed; one without chunks is gone."""
        documents = dict(self.documents) | {document.id: document for document in changed}
        kept = [documents[id] for id in sorted(documents) if documents[id].texts]
        if not kept:
            return Index(revision=revision)
        vectors = np.concatenate([document.vectors for document in kept])
        lengths = [len(document.texts) for document in kept]
        ends = np.cumsum(lengths)
        # each document's vectors become a view of the new matrix, so that the old one is let go of
        views = (vectors[end - length : end] for end, length in zip(ends, lengths, strict=True))
        return Index(
            revision=revision,
            documents={
                document.id: LoadedDocument(document.id, document.version, document.title, document.texts, view)
                for document, view in zip(kept, views, strict=True)
            },
            vectors=vectors,
            owners=np.repeat(np.arange(len(kept), dtype=np.int32), lengths),
            rows=[(document.id, seq) for document in kept for seq in range(len(document.texts))],
        )

    def passage(self, row: int, score: float) -> Passage:
        """The chunk of a row as the rest of the gateway knows it."""
        id, seq = self.rows[row]
        document = self.documents[id]
        return Passage(
            document=id, version=document.version, title=document.title, text=document.texts[seq], score=score
        )
