"""Documents as callers know them: put, get, list, delete; each change visible to the answer cache before it returns."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from msgspec import Struct
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from gateway.clock import Clock, new_id
from gateway.embedding.base import Embedder
from gateway.errors import PromptyardError, StorageUnavailable, UnknownDocument
from gateway.retrieval import document_store as store
from gateway.retrieval.chunking import chunk
from gateway.retrieval.document_rules import Content, check_content, check_name
from gateway.retrieval.ports import EpochsPort
from gateway.storage.engine import writing
from gateway.storage.models import DocumentRow

T = TypeVar("T")

_MAX_PAGE = 1_000
_INLINE_CHARACTERS = 4_000  # cut in less time than a thread is woken


class DocumentState(Struct, frozen=True, kw_only=True):
    """What a write did. ``version`` counts a document's changes (deletions too) and never repeats."""

    collection: str
    id: str
    version: int
    revision: int
    """The collection's revision that wrote this version."""
    changed: bool
    """False: the very same content was there already, and nothing was written."""
    chunks: int
    updated_at: float
    deleted: bool = False


class Document(Struct, frozen=True, kw_only=True):
    """A document's current version."""

    state: DocumentState
    title: str
    text: str
    attributes: Mapping[str, Any]


class Documents:
    """All tenants' documents. One instance a process; close it with ``settle`` so that no change is cut off."""

    def __init__(self, engine: Engine, epochs: EpochsPort, embedder: Embedder, clock: Clock) -> None:
        self._engine = engine
        self._epochs = epochs
        self._embedder = embedder
        self._clock = clock
        self._changes: set[asyncio.Task[Any]] = set()

    async def put(
        self,
        tenant: str,
        collection: str,
        id: str,
        *,
        title: str,
        text: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> DocumentState:
        """Store a new version unless the content is what is there already.

        When this returns, no answer made from an older version is valid in any worker's cache. Raises InvalidRequest,
        BodyTooLarge, or StorageUnavailable (the text could not be embedded, or SQL or the epochs are out of reach);
        repeating a failed put is always right.
        """
        place = _place(tenant, collection, id)
        content = check_content(title, text, attributes or {})
        digest = content.digest(self._embedder.name)
        before = await asyncio.to_thread(store.standing, self._engine, place)
        if before is not None and not before.deleted and before.digest == digest:
            found = await asyncio.to_thread(store.find, self._engine, place)
            if found and found[0].digest == digest:
                return _state(found[0], chunks=found[1], changed=False)
        prepared = await self._prepare(content, digest)

        def write(session: Session) -> DocumentState:
            row, changed = store.write(session, place, prepared, self._change())
            return _state(row, chunks=len(prepared.chunks), changed=changed)

        return await self._uninterrupted(lambda: self._apply(place, write))

    async def delete(self, tenant: str, collection: str, id: str) -> DocumentState:
        """Leave a tombstone. Raises UnknownDocument when there is nothing to delete, else as ``put``."""
        place = _place(tenant, collection, id)
        before = await asyncio.to_thread(store.standing, self._engine, place)
        if before is None or before.deleted:
            raise _unknown(place)

        def bury(session: Session) -> DocumentState:
            row = store.bury(session, place, self._change())
            if row is None:
                raise _unknown(place)
            return _state(row, chunks=0, changed=True)

        return await self._uninterrupted(lambda: self._apply(place, bury))

    async def get(self, tenant: str, collection: str, id: str) -> Document:
        """Raises UnknownDocument, also for a deleted one, or StorageUnavailable."""
        place = _place(tenant, collection, id)
        found = await asyncio.to_thread(store.find, self._engine, place)
        if found is None:
            raise _unknown(place)
        row, chunks = found
        state = _state(row, chunks=chunks, changed=False)
        return Document(state=state, title=row.title, text=row.text, attributes=row.attributes)

    async def list(
        self, tenant: str, collection: str, *, after: str = "", limit: int = 100
    ) -> tuple[DocumentState, ...]:
        """Up to ``limit`` (at most 1,000) documents in order of id, from the first one behind ``after``.

        Raises InvalidRequest.
        """
        check_name("tenant", tenant)
        check_name("collection", collection)
        if after:
            check_name("document", after)
        bounded = min(max(limit, 1), _MAX_PAGE)
        rows = await asyncio.to_thread(store.page, self._engine, tenant, collection, after, bounded)
        return tuple(_state(row, chunks=chunks, changed=False) for row, chunks in rows)

    async def settle(self) -> None:
        """Wait until every change that has begun is committed and published, or has failed."""
        while self._changes:
            await asyncio.wait(set(self._changes))

    async def _prepare(self, content: Content, digest: str) -> store.Prepared:
        """Chunk and embed. A chunk's vector is that of the title and the chunk: a title says what a text is about."""
        name = self._embedder.name
        large = len(content.text) > _INLINE_CHARACTERS
        texts = await asyncio.to_thread(chunk, content.text) if large else chunk(content.text)
        try:
            vectors = await self._embedder.embed([f"{content.title}\n{text}" for text in texts])
        except PromptyardError as error:
            raise StorageUnavailable(
                f"the document could not be embedded: {error.message}",
                hint="Nothing was changed; try again when the embedding model answers.",
                retry_after=error.retry_after,
            ) from error
        blobs = [vector.astype(np.dtype("<f4")).tobytes() for vector in vectors]
        return store.Prepared(content, digest, name, list(zip(texts, blobs, strict=True)))

    async def _apply(self, place: store.Place, write: Callable[[Session], DocumentState]) -> DocumentState:
        """Mark pending, commit, publish: between mark and publish nobody is served from the cache."""
        token = await self._epochs.begin(place.tenant, place.collection)
        committing = False

        def transact() -> DocumentState:
            nonlocal committing
            with writing(self._engine) as session:
                state = write(session)
                session.flush()
                committing = True
            return state

        try:
            state = await asyncio.to_thread(transact)
        except BaseException:
            # A commit that fails half-way may have happened: a new epoch is then the only safe one.
            settle = self._epochs.publish if committing else self._epochs.abandon
            with suppress(StorageUnavailable):  # the mark then expires by itself
                await settle(place.tenant, place.collection, token)
            raise
        await self._epochs.publish(place.tenant, place.collection, token)
        return state

    async def _uninterrupted(self, change: Callable[[], Awaitable[T]]) -> T:
        """A caller who goes away must not leave a change committed but unpublished."""
        task = asyncio.ensure_future(change())
        self._changes.add(task)
        task.add_done_callback(self._settled)
        return await asyncio.shield(task)

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a failure nobody waits for any more is no noise in the log

    def _change(self) -> store.Change:
        return store.Change(at=self._clock.now(), event_id=new_id("evt", self._clock))


def _place(tenant: str, collection: str, id: str) -> store.Place:
    check_name("tenant", tenant)
    check_name("collection", collection)
    check_name("document", id)
    return store.Place(tenant, collection, id)


def _unknown(place: store.Place) -> UnknownDocument:
    return UnknownDocument(f"there is no document {place.id!r} in collection {place.collection!r}")


def _state(row: DocumentRow, *, chunks: int, changed: bool) -> DocumentState:
    return DocumentState(
        collection=row.collection,
        id=row.id,
        version=row.version,
        revision=row.revision,
        changed=changed,
        chunks=chunks,
        updated_at=row.updated_at,
        deleted=row.deleted,
    )
