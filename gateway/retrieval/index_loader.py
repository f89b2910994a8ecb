"""Bringing an index up to date from SQL."""

import asyncio
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from sqlalchemy import Engine, and_, select

from gateway.embedding.base import Embedder, Vectors
from gateway.retrieval.index import Index, LoadedDocument
from gateway.storage.engine import reading
from gateway.storage.models import ChunkRow, CollectionRow, DocumentRow

_NO_VECTORS = np.zeros((0, 0), dtype=np.float32)
_INLINE_CELLS = 200_000  # numbers that are copied in less time than a thread is woken


class _Chunk(Struct, frozen=True):
    text: str
    embedder: str
    embedding: bytes


class _Document(Struct, frozen=True):
    id: str
    version: int
    revision: int
    title: str
    chunks: list[_Chunk]


async def load(engine: Engine, embedder: Embedder, tenant: str, collection: str, index: Index) -> Index:
    """The index with all that was committed before the call began; the same object when nothing was.

    Only documents beyond the index's revision are read. Chunks that another embedder made are embedded again, in
    memory: vectors of different embedders never meet. Raises StorageUnavailable or a ProviderError.
    """
    base, changed = await asyncio.to_thread(_changes, engine, tenant, collection, index)
    if not changed:
        return base
    foreign = [f"{d.title}\n{c.text}" for d in changed for c in d.chunks if c.embedder != embedder.name]
    again = iter(await embedder.embed(foreign)) if foreign else iter(_NO_VECTORS)

    def vectors(chunks: Sequence[_Chunk]) -> Vectors:
        if not chunks:
            return _NO_VECTORS
        rows = [np.frombuffer(c.embedding, dtype="<f4") if c.embedder == embedder.name else next(again) for c in chunks]
        return np.stack(rows).astype(np.float32, copy=False)

    def loaded() -> list[LoadedDocument]:
        return [
            LoadedDocument(d.id, d.version, d.title, [c.text for c in d.chunks], vectors(d.chunks)) for d in changed
        ]

    large = sum(len(d.chunks) for d in changed) * embedder.dimensions > _INLINE_CELLS
    documents = await asyncio.to_thread(loaded) if large else loaded()
    revision = max(base.revision, *(d.revision for d in changed))
    if base.cost_of(documents) > _INLINE_CELLS:
        return await asyncio.to_thread(base.updated, revision, documents)
    return base.updated(revision, documents)


def _changes(engine: Engine, tenant: str, collection: str, index: Index) -> tuple[Index, list[_Document]]:
    """What changed since the index, in one statement: a document is never paired with another version's chunks.

    Writers of a collection are in line, so revisions become visible in order, and the greatest one read covers all
    before it. A revision that went back means a restored database: then everything is read.
    """
    revision = select(CollectionRow.revision).where(CollectionRow.tenant == tenant, CollectionRow.name == collection)
    with reading(engine) as session:
        current = session.execute(revision).scalar_one_or_none() or 0
        base = index if current >= index.revision else Index()
        if current == base.revision:
            return base, []
        wanted = (
            select(
                DocumentRow.id,
                DocumentRow.version,
                DocumentRow.revision,
                DocumentRow.title,
                ChunkRow.text,
                ChunkRow.embedder,
                ChunkRow.embedding,
            )
            .outerjoin(
                ChunkRow,
                and_(
                    ChunkRow.tenant == DocumentRow.tenant,
                    ChunkRow.collection == DocumentRow.collection,
                    ChunkRow.document_id == DocumentRow.id,
                ),
            )
            .where(DocumentRow.tenant == tenant, DocumentRow.collection == collection)
            .where(DocumentRow.revision > base.revision)
            .order_by(DocumentRow.id, ChunkRow.seq)
        )
        found: dict[str, _Document] = {}
        for id, version, at, title, text, embedder, embedding in session.execute(wanted):
            document = found.setdefault(id, _Document(id, version, at, title, []))
            if text is not None:
                document.chunks.append(_Chunk(text, embedder, embedding))
        return base, list(found.values())
