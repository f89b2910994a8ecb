"""The SQL of documents and chunks: sync, one function a statement or transaction. Rows in, rows out."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from msgspec import Struct
from sqlalchemy import Column, ColumnElement, Engine, Table, bindparam, delete, func, insert, select, update
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


def standing(engine: Engine, place: Place) -> "Standing | None":
    """Of a document that was ever there: much cheaper than ``find``."""
    with reading(engine) as session:
        return _before(session, place)


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
    before = _before(session, place)
    if before is not None and not before.deleted and before.digest == prepared.digest:
        return session.get_one(DocumentRow, (place.tenant, place.collection, place.id)), False
    content = prepared.content
    row = DocumentRow(
        tenant=place.tenant,
        collection=place.collection,
        id=place.id,
        version=1 if before is None else before.version + 1,
        revision=revision,
        title=content.title,
        text=content.text,
        attributes=dict(content.attributes),
        digest=prepared.digest,
        deleted=False,
        updated_at=change.at,
    )
    _put(session, place, row, new=before is None)
    _replace_chunks(session, place, row.version, prepared)
    _announce(session, place, row, change)
    return row, True


def bury(session: Session, place: Place, change: Change) -> DocumentRow | None:
    """Leave a tombstone without content, and its event; None when there is nothing to delete."""
    revision = _next_revision(session, place)
    before = _before(session, place)
    if before is None or before.deleted:
        return None
    row = DocumentRow(
        tenant=place.tenant,
        collection=place.collection,
        id=place.id,
        version=before.version + 1,
        revision=revision,
        title="",
        text="",
        attributes={},
        digest="",
        deleted=True,
        updated_at=change.at,
    )
    _put(session, place, row, new=False)
    _replace_chunks(session, place, row.version, None)
    _announce(session, place, row, change)
    return row


class Standing(NamedTuple):
    """What a change of a document must know of it."""

    version: int
    digest: str
    deleted: bool


# Between the mark and the new epoch the whole collection misses: so these are statements that are built once, over
# tables, which cost a fraction of what the unit of work does.
_documents, _chunks, _outbox = (cast(Table, row.__table__) for row in (DocumentRow, ChunkRow, OutboxRow))
_CONTENT = ("version", "revision", "title", "text", "attributes", "digest", "deleted", "updated_at")


def _at(tenant: Column[Any], collection: Column[Any], id: Column[Any]) -> tuple[ColumnElement[bool], ...]:
    return tenant == bindparam("at_tenant"), collection == bindparam("at_collection"), id == bindparam("at_id")


_AT = _at(_documents.c.tenant, _documents.c.collection, _documents.c.id)
_READ = select(_documents.c.version, _documents.c.digest, _documents.c.deleted).where(*_AT)
_INSERT = insert(_documents)
_UPDATE = update(_documents).where(*_AT).values({name: bindparam(name) for name in _CONTENT})
_CLEAR = delete(_chunks).where(*_at(_chunks.c.tenant, _chunks.c.collection, _chunks.c.document_id))
_FILL = insert(_chunks)
_TELL = insert(_outbox)


def _grow(upsert: Callable[..., Any]) -> Any:
    first = upsert(CollectionRow).values(tenant=bindparam("tenant"), name=bindparam("name"), revision=1)
    keys = [CollectionRow.tenant, CollectionRow.name]
    grown = first.on_conflict_do_update(index_elements=keys, set_={"revision": CollectionRow.revision + 1})
    return grown.returning(CollectionRow.revision)


_GROW = {"postgresql": _grow(postgresql_insert), "sqlite": _grow(sqlite_insert)}


def _key(place: Place) -> dict[str, str]:
    return {"at_tenant": place.tenant, "at_collection": place.collection, "at_id": place.id}


def _before(session: Session, place: Place) -> Standing | None:
    row = session.execute(_READ, _key(place)).first()
    return None if row is None else Standing(*row)


def _put(session: Session, place: Place, row: DocumentRow, *, new: bool) -> None:
    values = {name: getattr(row, name) for name in _CONTENT}
    if new:
        session.execute(_INSERT, {"tenant": place.tenant, "collection": place.collection, "id": place.id, **values})
    else:
        session.execute(_UPDATE, _key(place) | values)


def _next_revision(session: Session, place: Place) -> int:
    """Also the lock that puts writers of one collection in line: revisions become visible in their order."""
    grow = _GROW[session.get_bind().dialect.name]
    return int(session.execute(grow, {"tenant": place.tenant, "name": place.collection}).scalar_one())


def _replace_chunks(session: Session, place: Place, version: int, prepared: Prepared | None) -> None:
    session.execute(_CLEAR, _key(place))
    if prepared is None or not prepared.chunks:
        return
    rows = [
        {
            "tenant": place.tenant,
            "collection": place.collection,
            "document_id": place.id,
            "seq": seq,
            "version": version,
            "text": text,
            "embedder": prepared.embedder,
            "embedding": embedding,
        }
        for seq, (text, embedding) in enumerate(prepared.chunks)
    ]
    session.execute(_FILL, rows)


def _announce(session: Session, place: Place, row: DocumentRow, change: Change) -> None:
    values = {
        "id": change.event_id,
        "event": EVENT,
        "resource": f"promptyard.document.{place.tenant}.{place.collection}.{place.id}",
        "payload": {
            "tenant": place.tenant,
            "collection": place.collection,
            "document_id": place.id,
            "version": row.version,
            "deleted": row.deleted,
        },
        "created_at": change.at,
        "attempts": 0,
        "next_attempt_at": 0.0,
    }
    session.execute(_TELL, values)


def _chunk_count(session: Session, place: Place) -> int:
    wanted = select(func.count()).where(
        ChunkRow.tenant == place.tenant, ChunkRow.collection == place.collection, ChunkRow.document_id == place.id
    )
    return session.execute(wanted).scalar_one()
