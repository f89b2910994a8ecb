"""The SQL of documents and chunks: sync, one function a statement or transaction. Rows in, rows out."""

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from gateway.retrieval.document_rules import Content
from gateway.storage.engine import reading
from gateway.storage.models import ChunkRow, CollectionRow, DocumentRow, OutboxRow

EVENT = "promptyard.document.updated"


class Place(Struct, frozen=True):
    """Where a document lives."""

    tenant: str
    collection: str
    id: str


class Prepared(Struct, frozen=True):
    """A document ready to be written: its content and its chunks with their vectors (little-endian float32)."""

    content: Content
    digest: str
    embedder: str
    chunks: Sequence[tuple[str, bytes]]


class Change(Struct, frozen=True):
    """When and under which event id a change is written."""

    at: float
    event_id: str


def find(engine: Engine, place: Place) -> tuple[DocumentRow, int] | None:
    """The document and its number of chunks; None when it is not there or deleted."""
    with reading(engine) as session:
        row = session.get(DocumentRow, (place.tenant, place.collection, place.id))
        if row is None or row.deleted:
            return None
        return row, _chunk_count(session, place)


def page(engine: Engine, tenant: str, collection: str, after: str, limit: int) -> list[tuple[DocumentRow, int]]:
    """Documents that are there, in order of id, with their numbers of chunks."""
    counts = (
        select(ChunkRow.document_id, func.count().label("n"))
        .where(ChunkRow.tenant == tenant, ChunkRow.collection == collection)
        .group_by(ChunkRow.document_id)
        .subquery()
    )
    wanted = (
        select(DocumentRow, func.coalesce(counts.c.n, 0))
        .outerjoin(counts, counts.c.document_id == DocumentRow.id)
        .where(DocumentRow.tenant == tenant, DocumentRow.collection == collection)
        .where(DocumentRow.deleted.is_(False), DocumentRow.id > after)
        .order_by(DocumentRow.id)
        .limit(limit)
    )
    with reading(engine) as session:
        return [(row, count) for row, count in session.execute(wanted)]


def write(session: Session, place: Place, prepared: Prepared, change: Change) -> tuple[DocumentRow, bool]:
    """Store a version and its event; False and the row as it is when another writer stored the same just before."""
    revision = _next_revision(session, place)
    row = session.get(DocumentRow, (place.tenant, place.collection, place.id))
    if row is not None and not row.deleted and row.digest == prepared.digest:
        return row, False
    if row is None:
        row = DocumentRow(tenant=place.tenant, collection=place.collection, id=place.id, version=0)
        session.add(row)
    row.version += 1
    row.revision = revision
    row.title, row.text = prepared.content.title, prepared.content.text
    row.attributes = dict(prepared.content.attributes)
    row.digest, row.deleted, row.updated_at = prepared.digest, False, change.at
    _replace_chunks(session, place, row.version, prepared)
    _announce(session, place, row, change)
    return row, True


def bury(session: Session, place: Place, change: Change) -> DocumentRow | None:
    """Leave a tombstone without content, and its event; None when there is nothing to delete."""
    revision = _next_revision(session, place)
    row = session.get(DocumentRow, (place.tenant, place.collection, place.id))
    if row is None or row.deleted:
        return None
    row.version += 1
    row.revision = revision
    row.title = row.text = row.digest = ""
    row.attributes = {}
    row.deleted, row.updated_at = True, change.at
    _replace_chunks(session, place, row.version, None)
    _announce(session, place, row, change)
    return row


def _next_revision(session: Session, place: Place) -> int:
    """Also the lock that puts writers of one collection in line: revisions become visible in their order."""
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    created = insert(CollectionRow).values(tenant=place.tenant, name=place.collection, revision=0)
    session.execute(created.on_conflict_do_nothing())
    grown = (
        update(CollectionRow)
        .where(CollectionRow.tenant == place.tenant, CollectionRow.name == place.collection)
        .values(revision=CollectionRow.revision + 1)
        .returning(CollectionRow.revision)
    )
    return session.execute(grown).scalar_one()


def _replace_chunks(session: Session, place: Place, version: int, prepared: Prepared | None) -> None:
    session.execute(
        delete(ChunkRow).where(
            ChunkRow.tenant == place.tenant, ChunkRow.collection == place.collection, ChunkRow.document_id == place.id
        )
    )
    if prepared is None:
        return
    session.add_all(
        ChunkRow(
            tenant=place.tenant,
            collection=place.collection,
            document_id=place.id,
            seq=seq,
            version=version,
            text=text,
            embedder=prepared.embedder,
            embedding=embedding,
        )
        for seq, (text, embedding) in enumerate(prepared.chunks)
    )


def _announce(session: Session, place: Place, row: DocumentRow, change: Change) -> None:
    session.add(
        OutboxRow(
            id=change.event_id,
            event=EVENT,
            resource=f"promptyard.document.{place.tenant}.{place.collection}.{place.id}",
            payload={
                "tenant": place.tenant,
                "collection": place.collection,
                "document_id": place.id,
                "version": row.version,
                "deleted": row.deleted,
            },
            created_at=change.at,
            attempts=0,
            next_attempt_at=0.0,
        )
    )


def _chunk_count(session: Session, place: Place) -> int:
    wanted = select(func.count()).where(
        ChunkRow.tenant == place.tenant, ChunkRow.collection == place.collection, ChunkRow.document_id == place.id
    )
    return session.execute(wanted).scalar_one()
