"""Documents whose vectors another embedder made."""

from sqlalchemy import select, update

from gateway.storage.engine import reading, writing
from gateway.storage.models import ChunkRow, DocumentRow
from tasks.documents import Pending, pending_documents
from tasks.embedding_anew import embed_anew
from tests.tasks.conftest import Station


def test_vectors_of_another_embedder_are_made_anew(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.put("zebras", "Zebras have stripes.")
    assert embed_anew.fn(station.settings, "acme", "articles") == 0
    with writing(station.engine) as session:
        session.execute(
            update(ChunkRow).where(ChunkRow.document_id == "zebras").values(embedder="older", embedding=b"")
        )
        session.get_one(DocumentRow, ("acme", "articles", "zebras")).digest = "with the older one"
    assert embed_anew.fn(station.settings, "acme", "articles") == 1
    assert embed_anew.fn(station.settings, "acme", "articles") == 0
    with reading(station.engine) as session:
        rows = session.execute(select(ChunkRow.embedder, ChunkRow.version).order_by(ChunkRow.document_id)).all()
    assert [tuple(row) for row in rows] == [(station.gateway.embedder.name, 1), (station.gateway.embedder.name, 2)]
    assert Pending("acme", "articles", "zebras", 2, deleted=False) in pending_documents.fn(station.settings, 10)
