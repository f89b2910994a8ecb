"""Searching over real SQL: freshness, outages, isolation, determinism."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text

from gateway.clock import ManualClock
from gateway.errors import ProviderUnreachable, StorageUnavailable
from gateway.retrieval.documents import Documents
from gateway.retrieval.search import Retriever, render_passages
from gateway.storage.engine import make_engine
from gateway.types import Passage
from tests.gateway.retrieval.fakes import BrokenEmbedder, C, FakeEpochs, OtherEmbedder, SwitchedSql, T


@pytest.fixture
def sql(sqlite_file: Path) -> SwitchedSql:
    return SwitchedSql(sqlite_file)


@pytest.fixture
def engine(sqlite_file: Path) -> Engine:
    return make_engine(f"sqlite:///{sqlite_file}")


@pytest.fixture
def retriever(sql: SwitchedSql, embedder: BrokenEmbedder, clock: ManualClock) -> Retriever:
    return Retriever(sql.engine, embedder, clock=clock, max_collections=3)


async def put(documents: Documents, id: str, content: str, tenant: str = T, collection: str = C) -> None:
    await documents.put(tenant, collection, id, title=id.title(), text=content)


def names(passages: tuple[Passage, ...]) -> list[str]:
    return [f"{p.document}@{p.version}" for p in passages]


async def test_the_best_passage_comes_first(documents: Documents, retriever: Retriever, epochs: FakeEpochs) -> None:
    await put(documents, "shipping", "Parcels arrive within three days.")
    await put(documents, "returns", "Send shoes back within 30 days.")
    found = await retriever.search(T, C, epochs.current(T, C), "when do parcels arrive?", 4)
    assert found[0] == Passage("shipping", 1, "Shipping", "Parcels arrive within three days.", found[0].score)
    assert 0.2 < found[0].score <= 1.0


async def test_an_empty_collection_has_no_passages(documents: Documents, retriever: Retriever) -> None:
    assert await retriever.search(T, "nothing", "e", "anything", 4) == ()
    await put(documents, "a", "text")
    await documents.delete(T, C, "a")
    assert await retriever.search(T, C, "e", "text", 4) == ()


@pytest.mark.parametrize(("query", "top_k"), [("", 4), (" ?", 4), ("parcels", 0), ("parcels", -1)])
async def test_nothing_asked_nothing_found(documents: Documents, retriever: Retriever, query: str, top_k: int) -> None:
    await put(documents, "a", "parcels")
    assert await retriever.search(T, C, "e", query, top_k) == ()


async def test_a_new_epoch_sees_the_new_text_at_once_and_the_same_epoch_asks_no_sql(
    documents: Documents, retriever: Retriever, epochs: FakeEpochs, sql: SwitchedSql
) -> None:
    await put(documents, "a", "parcels arrive in three days")
    await put(documents, "b", "shoes are blue")
    epoch = epochs.current(T, C)
    for _ in range(3):
        assert (await retriever.search(T, C, epoch, "parcels", 1))[0].text == "parcels arrive in three days"
    assert sql.connections == 1
    await put(documents, "a", "parcels arrive in five days")
    assert names(await retriever.search(T, C, epochs.current(T, C), "parcels", 1)) == ["a@2"]
    await documents.delete(T, C, "a")
    assert names(await retriever.search(T, C, epochs.current(T, C), "parcels", 1)) != ["a@2"]
    assert sql.connections == 3


async def test_an_older_epoch_does_not_take_the_index_back(
    documents: Documents, retriever: Retriever, epochs: FakeEpochs, sql: SwitchedSql
) -> None:
    await put(documents, "a", "parcels one")
    old = epochs.current(T, C)
    await retriever.search(T, C, old, "parcels", 1)
    await put(documents, "a", "parcels two")
    new = epochs.current(T, C)
    for epoch in (new, old, new, old):
        assert names(await retriever.search(T, C, epoch, "parcels", 1)) == ["a@2"]
    assert sql.connections == 2


async def test_an_unknown_epoch_asks_sql_each_time(
    documents: Documents, retriever: Retriever, sql: SwitchedSql
) -> None:
    for version in (1, 2, 3):
        await put(documents, "a", f"parcels {version}")
        assert names(await retriever.search(T, C, "", "parcels", 1)) == [f"a@{version}"]
    assert sql.connections == 3


async def test_callers_share_a_load_that_began_after_they_came(
    documents: Documents, retriever: Retriever, sql: SwitchedSql
) -> None:
    await put(documents, "a", "parcels")
    found = await asyncio.gather(*(retriever.search(T, C, "", "parcels", 1) for _ in range(20)))
    assert [names(f) for f in found] == [["a@1"]] * 20
    assert sql.connections <= 2  # the first comes before any load, the others share the second at most


async def test_sql_down_serves_the_last_index_but_nothing_older_than_an_acknowledged_change(
    documents: Documents, retriever: Retriever, epochs: FakeEpochs, sql: SwitchedSql, clock: ManualClock
) -> None:
    await put(documents, "a", "parcels one")
    known = epochs.current(T, C)
    assert (await retriever.find(T, C, known, "parcels", 1)).fresh
    await put(documents, "a", "parcels two")
    new = epochs.current(T, C)
    sql.down = True
    assert (await retriever.find(T, C, known, "parcels", 1)).fresh  # this epoch needs no SQL
    with pytest.raises(StorageUnavailable):
        await retriever.find(T, C, new, "parcels", 1)
    found = await retriever.find(T, C, "", "parcels", 1)  # Redis is away as well: nothing can be acknowledged
    assert (names(found.passages), found.fresh) == (["a@1"], False)
    sql.down = False
    assert names(await retriever.search(T, C, "", "parcels", 1)) == ["a@2"]


async def test_while_sql_is_down_one_epoch_tries_once_a_second(
    documents: Documents, retriever: Retriever, epochs: FakeEpochs, sql: SwitchedSql, clock: ManualClock
) -> None:
    await put(documents, "a", "parcels one")
    await retriever.search(T, C, epochs.current(T, C), "parcels", 1)
    await put(documents, "a", "parcels two")
    epoch = epochs.current(T, C)
    sql.down = True
    for _ in range(10):
        with pytest.raises(StorageUnavailable):
            await retriever.find(T, C, epoch, "parcels", 1)
    assert sql.connections == 2
    sql.down = False
    clock.advance(1.0)
    found = await retriever.find(T, C, epoch, "parcels", 1)
    assert (names(found.passages), found.fresh) == (["a@2"], True)


async def test_a_write_acknowledged_right_after_an_outage_is_seen_at_once(
    documents: Documents, retriever: Retriever, epochs: FakeEpochs, sql: SwitchedSql
) -> None:
    """The pause after a failed load is one epoch's: no new epoch waits for it."""
    await put(documents, "a", "parcels one")
    await retriever.search(T, C, epochs.current(T, C), "parcels", 1)
    sql.down = True
    with pytest.raises(StorageUnavailable):
        await retriever.find(T, C, "another", "parcels", 1)
    sql.down = False
    await put(documents, "a", "parcels two")
    assert names(await retriever.search(T, C, epochs.current(T, C), "parcels", 1)) == ["a@2"]


async def test_without_an_index_sql_down_is_an_error(retriever: Retriever, sql: SwitchedSql) -> None:
    sql.down = True
    for epoch in ("e", "e", ""):
        with pytest.raises(StorageUnavailable, match="cannot be loaded"):
            await retriever.search(T, C, epoch, "parcels", 1)


async def test_an_embedder_that_is_down_is_its_own_error(
    documents: Documents, retriever: Retriever, embedder: BrokenEmbedder
) -> None:
    await put(documents, "a", "parcels")
    await retriever.search(T, C, "e", "parcels", 1)
    embedder.down = True
    with pytest.raises(ProviderUnreachable):
        await retriever.search(T, C, "e", "parcels", 1)


async def test_tenants_with_the_same_names_never_meet(documents: Documents, retriever: Retriever) -> None:
    await put(documents, "a", "parcels of acme", tenant="acme")
    await put(documents, "a", "parcels of rival", tenant="rival")
    for tenant in ("acme", "rival", "acme"):
        (only,) = await retriever.search(tenant, C, "same", "parcels", 4)
        assert only.text == f"parcels of {tenant}"
    assert await retriever.search("third", C, "same", "parcels", 4) == ()


async def test_a_grown_index_is_the_one_that_a_new_process_loads(
    documents: Documents, retriever: Retriever, sql: SwitchedSql, embedder: BrokenEmbedder
) -> None:
    for n in (7, 3, 9, 1, 5):
        await put(documents, f"d{n}", f"parcels number {n} arrive")
        await retriever.search(T, C, "", "parcels", 4)
    await documents.delete(T, C, "d9")
    queries = ["parcels", "number 5", "what arrives, and also what is number 3?"]
    grown = [await retriever.search(T, C, "", query, 3) for query in queries]
    loaded = [await Retriever(sql.engine, embedder).search(T, C, "", query, 3) for query in queries]
    assert grown == loaded


async def test_equal_scores_come_in_order_of_id(documents: Documents, retriever: Retriever) -> None:
    for id in ("c", "a", "d", "b"):
        await documents.put(T, C, id, title="Same", text="the same text")
    assert [p.document for p in await retriever.search(T, C, "", "same text", 3)] == ["a", "b", "c"]


async def test_one_document_does_not_fill_the_answer(documents: Documents, retriever: Retriever) -> None:
    await put(documents, "long", "\n\n".join(f"parcels {n} " + "parcels arrive " * 85 for n in range(6)))
    await put(documents, "other", "some parcels among many other things that have nothing to do with it")
    found = await retriever.search(T, C, "", "parcels arrive", 3)
    assert [p.document for p in found] == ["long", "long", "other"]


async def test_chunks_of_another_embedder_are_embedded_again(documents: Documents, sql: SwitchedSql) -> None:
    await put(documents, "a", "tyres for winter")
    await put(documents, "b", "summer hats")
    other = Retriever(sql.engine, OtherEmbedder())
    assert [(p.document, p.score) for p in await other.search(T, C, "", "winter", 4)] == [("a", 1.0)]


async def test_a_restored_database_is_read_anew(documents: Documents, retriever: Retriever, engine: Engine) -> None:
    await put(documents, "a", "parcels one")
    await put(documents, "b", "parcels two")
    assert len(await retriever.search(T, C, "", "parcels", 4)) == 2
    with engine.begin() as connection:  # as it was before the second write
        connection.execute(text("DELETE FROM documents WHERE id = 'b'"))
        connection.execute(text("DELETE FROM chunks WHERE document_id = 'b'"))
        connection.execute(text("UPDATE collections SET revision = 1"))
    assert names(await retriever.search(T, C, "", "parcels", 4)) == ["a@1"]


async def test_only_the_last_used_collections_are_held(
    documents: Documents, retriever: Retriever, sql: SwitchedSql
) -> None:
    await put(documents, "a", "parcels")
    for collection in (C, "c1", "c2", C, "c3", C):
        await retriever.search(T, collection, "e", "parcels", 1)
    assert sql.connections == 4
    await retriever.search(T, "c1", "e", "parcels", 1)
    assert sql.connections == 5


def test_passages_as_the_model_reads_them() -> None:
    passages = [
        Passage("returns-policy", 3, "Returns and refunds", "Text of the chunk...", 0.9),
        Passage("shipping-times", 1, "Shipping times", "Text of the chunk...", 0.5),
        Passage("untitled", 1, "", "Text.", 0.1),
    ]
    assert render_passages(passages) == (
        "[doc:returns-policy] Returns and refunds\nText of the chunk...\n\n"
        "[doc:shipping-times] Shipping times\nText of the chunk...\n\n"
        "[doc:untitled]\nText."
    )
    assert render_passages([]) == ""


async def test_vectors_are_kept_little_endian_at_unit_length(documents: Documents, engine: Engine) -> None:
    await put(documents, "a", "parcels arrive")
    with engine.connect() as connection:
        (blob,) = connection.execute(text("SELECT embedding FROM chunks")).scalars()
    assert float(np.linalg.norm(np.frombuffer(blob, dtype="<f4"))) == pytest.approx(1.0, abs=1e-6)
