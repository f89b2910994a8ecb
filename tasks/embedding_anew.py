"""Vectors of documents, after the embedder was changed."""

from collections.abc import Sequence

from sqlalchemy import Engine, select

from gateway.compose import Gateway
from gateway.errors import UnknownDocument
from gateway.settings import Settings
from gateway.storage.engine import reading
from gateway.storage.models import ChunkRow
from tasks.llm import client
from tasks.registration import engine_of
from tasks.step import step

PATIENCE = 1_800.0


@step("embed anew")
def embed_anew(settings: Settings, tenant: str, collection: str, limit: int = 500) -> int:
    """Store documents again whose vectors another embedder made; returns how many.

    They get a new version, for they are found by other questions now. Raises StorageUnavailable.
    """
    known = client(settings)
    foreign = _foreign_documents(engine_of(settings), tenant, collection, known.gateway.embedder.name, limit)
    return known.run(_store_again(known.gateway, tenant, collection, foreign), patience=PATIENCE)


def _foreign_documents(engine: Engine, tenant: str, collection: str, embedder: str, limit: int) -> list[str]:
    wanted = (
        select(ChunkRow.document_id)
        .where(ChunkRow.tenant == tenant, ChunkRow.collection == collection, ChunkRow.embedder != embedder)
        .distinct()
        .order_by(ChunkRow.document_id)
        .limit(limit)
    )
    with reading(engine) as session:
        return list(session.scalars(wanted))


async def _store_again(gateway: Gateway, tenant: str, collection: str, ids: Sequence[str]) -> int:
    count = 0
    for id in ids:
        try:
            found = await gateway.documents.get(tenant, collection, id)
        except UnknownDocument:  # deleted meanwhile
            continue
        state = await gateway.documents.put(
            tenant, collection, id, title=found.title, text=found.text, attributes=found.attributes
        )
        count += state.changed
    return count
