"""Documents over real SQL: what is written, in which order the cache hears of it, what a failure leaves."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import OperationalError

from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable, UnknownDocument
from gateway.retrieval.documents import Documents
from gateway.storage.engine import reading
from gateway.storage.models import ChunkRow, DocumentRow, OutboxRow
from tests.gateway.retrieval.fakes import BrokenEmbedder, C, FakeEpochs, OtherEmbedder, T


def everything(engine: Engine) -> list[Any]:
    """All rows of the tables a document write touches."""
    with reading(engine) as session:
        tables = ("collections", "documents", "chunks", "outbox")
        return [session.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2, 3")).fetchall() for table in tables]  # noqa: S608


def outbox(engine: Engine) -> list[OutboxRow]:
    with reading(engine) as session:
        return list(session.scalars(select(OutboxRow).order_by(OutboxRow.payload["version"].as_integer())))


async def test_what_was_put_can_be_read_back(documents: Documents, clock: ManualClock) -> None:
    state = await documents.put(T, C, "returns", title=" Returns ", text="30 days.\n", attributes={"b": [1], "a": None})
    assert (state.collection, state.id, state.version, state.changed, state.chunks) == (C, "returns", 1, True, 1)
    assert state.updated_at == clock.now()
    found = await documents.get(T, C, "returns")
    assert (found.title, found.text, found.attributes) == ("Returns", "30 days.\n", {"a": None, "b": [1]})
    assert found.state.version == 1


async def test_the_same_content_makes_no_new_version(
    documents: Documents, engine: Engine, epochs: FakeEpochs, embedder: BrokenEmbedder, clock: ManualClock
) -> None:
    first = await documents.put(T, C, "a", title="A", text="one", attributes={"x": 1, "y": 2})
    before, asked = everything(engine), len(embedder.texts)
    clock.advance(5)
    again = await documents.put(T, C, "a", title="A", text="one", attributes={"y": 2, "x": 1})
    assert (again.version, again.revision, again.changed, again.chunks) == (1, first.revision, False, 1)
    assert again.updated_at == first.updated_at
    assert everything(engine) == before
    assert len(embedder.texts) == asked
    assert epochs.log == ["begin", "publish"]


@pytest.mark.parametrize("change", [{"title": "B"}, {"text": "two"}, {"attributes": {"x": 2}}])
async def test_each_part_of_the_content_counts(documents: Documents, change: dict[str, Any]) -> None:
    content: dict[str, Any] = {"title": "A", "text": "one", "attributes": {"x": 1}}
    await documents.put(T, C, "a", **content)
    assert (await documents.put(T, C, "a", **(content | change))).version == 2


async def test_another_embedder_makes_a_new_version(documents: Documents, engine: Engine, epochs: FakeEpochs) -> None:
    await documents.put(T, C, "a", title="A", text="one")
    other = Documents(engine, epochs, OtherEmbedder(), ManualClock())
    assert (await other.put(T, C, "a", title="A", text="one")).version == 2


async def test_a_new_version_replaces_all_chunks(documents: Documents, engine: Engine) -> None:
    long = "\n\n".join(f"paragraph {n} " + "word " * 150 for n in range(5))
    assert (await documents.put(T, C, "a", title="A", text=long)).chunks == 5
    assert (await documents.put(T, C, "a", title="A", text="short")).chunks == 1
    with reading(engine) as session:
        chunks = list(session.scalars(select(ChunkRow)))
    assert [(c.seq, c.version, c.text, len(c.embedding)) for c in chunks] == [(0, 2, "short", 4096)]


async def test_versions_never_repeat(documents: Documents, engine: Engine) -> None:
    assert (await documents.put(T, C, "a", title="A", text="one")).version == 1
    deleted = await documents.delete(T, C, "a")
    assert (deleted.version, deleted.deleted, deleted.chunks) == (2, True, 0)
    again = await documents.put(T, C, "a", title="A", text="one")
    assert (again.version, again.changed, again.revision) == (3, True, 3)
    assert [row.payload["version"] for row in outbox(engine)] == [1, 2, 3]


async def test_a_deleted_document_is_gone_and_keeps_no_content(documents: Documents, engine: Engine) -> None:
    await documents.put(T, C, "a", title="A", text="a secret", attributes={"who": "me"})
    await documents.delete(T, C, "a")
    with pytest.raises(UnknownDocument):
        await documents.get(T, C, "a")
    with pytest.raises(UnknownDocument):
        await documents.delete(T, C, "a")
    assert await documents.list(T, C) == ()
    with reading(engine) as session:
        row = session.scalars(select(DocumentRow)).one()
        assert (row.title, row.text, row.attributes, row.deleted) == ("", "", {}, True)
        assert session.scalars(select(ChunkRow)).all() == []


async def test_deleting_what_never_was_changes_nothing(
    documents: Documents, engine: Engine, epochs: FakeEpochs
) -> None:
    with pytest.raises(UnknownDocument, match="'nobody'"):
        await documents.delete(T, C, "nobody")
    assert everything(engine) == [[], [], [], []]
    assert epochs.log == []


async def test_lists_come_in_order_and_in_pages(documents: Documents) -> None:
    for id in ("c", "a", "d", "b"):
        await documents.put(T, C, id, title=id, text=id)
    await documents.delete(T, C, "b")
    assert [(s.id, s.chunks) for s in await documents.list(T, C)] == [("a", 1), ("c", 1), ("d", 1)]
    assert [s.id for s in await documents.list(T, C, limit=2)] == ["a", "c"]
    assert [s.id for s in await documents.list(T, C, after="c", limit=2)] == ["d"]
    assert await documents.list(T, "other") == ()


async def test_tenants_do_not_see_each_other(documents: Documents) -> None:
    await documents.put("acme", C, "a", title="A", text="ours")
    await documents.put("rival", C, "a", title="A", text="theirs")
    await documents.delete("rival", C, "a")
    assert (await documents.get("acme", C, "a")).text == "ours"
    assert [s.version for s in await documents.list("acme", C)] == [1]
    with pytest.raises(UnknownDocument):
        await documents.get("rival", C, "a")


async def test_the_event_says_what_changed(documents: Documents, engine: Engine, clock: ManualClock) -> None:
    await documents.put(T, C, "a", title="A", text="one")
    await documents.delete(T, C, "a")
    put, deleted = outbox(engine)
    assert (put.event, put.resource) == ("promptyard.document.updated", f"promptyard.document.{T}.{C}.a")
    assert put.payload == {"tenant": T, "collection": C, "document_id": "a", "version": 1, "deleted": False}
    assert deleted.payload == {"tenant": T, "collection": C, "document_id": "a", "version": 2, "deleted": True}
    assert (put.created_at, put.sent_at, put.attempts, put.next_attempt_at) == (clock.now(), None, 0, 0.0)


async def test_an_embedding_that_fails_changes_nothing(
    documents: Documents, engine: Engine, epochs: FakeEpochs, embedder: BrokenEmbedder
) -> None:
    await documents.put(T, C, "a", title="A", text="one")
    before = everything(engine)
    embedder.down = True
    with pytest.raises(StorageUnavailable, match="could not be embedded") as failure:
        await documents.put(T, C, "a", title="A", text="two")
    assert failure.value.retryable
    assert everything(engine) == before
    assert epochs.log == ["begin", "publish"]


async def test_epochs_out_of_reach_change_nothing(documents: Documents, engine: Engine, epochs: FakeEpochs) -> None:
    await documents.put(T, C, "a", title="A", text="one")
    before = everything(engine)
    epochs.down = True
    with pytest.raises(StorageUnavailable):
        await documents.put(T, C, "a", title="A", text="two")
    with pytest.raises(StorageUnavailable):
        await documents.delete(T, C, "a")
    assert everything(engine) == before


async def test_a_locked_database_abandons_the_change(
    sqlite_file: Path, epochs: FakeEpochs, embedder: BrokenEmbedder, open_engine: Callable[..., Engine]
) -> None:
    engine = open_engine(f"sqlite:///{sqlite_file}", timeout=0.05)
    documents = Documents(engine, epochs, embedder, ManualClock())
    await documents.put(T, C, "a", title="A", text="one")
    before, epoch = everything(engine), epochs.current(T, C)
    other = sqlite3.connect(sqlite_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        await documents.put(T, C, "a", title="A", text="two")
    other.execute("ROLLBACK")
    other.close()
    assert everything(engine) == before
    assert epochs.log[2:] == ["begin", "abandon"]
    assert epochs.current(T, C) == epoch


async def test_the_event_is_written_in_the_transaction_of_the_change(
    sqlite_file: Path, epochs: FakeEpochs, embedder: BrokenEmbedder, open_engine: Callable[..., Engine]
) -> None:
    """Without a place for the event there is no change either, and the epoch stays."""
    engine = open_engine(f"sqlite:///{sqlite_file}")
    documents = Documents(engine, epochs, embedder, ManualClock())
    await documents.put(T, C, "a", title="A", text="one")
    epoch = epochs.current(T, C)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE outbox RENAME TO elsewhere"))
    with pytest.raises(StorageUnavailable):
        await documents.put(T, C, "a", title="A", text="two")
    with pytest.raises(StorageUnavailable):
        await documents.delete(T, C, "a")
    found = await documents.get(T, C, "a")
    assert (found.text, found.state.version, found.state.revision, found.state.chunks) == ("one", 1, 1, 1)
    assert epochs.current(T, C) == epoch
    assert epochs.log[2:] == ["begin", "abandon"] * 2


async def test_a_commit_of_unknown_outcome_makes_a_new_epoch(
    ledger_url: str, epochs: FakeEpochs, embedder: BrokenEmbedder, open_engine: Callable[..., Engine]
) -> None:
    """The commit went through and its answer was lost: answers made from the old text must not stay valid."""
    engine = open_engine(ledger_url)
    documents = Documents(engine, epochs, embedder, ManualClock())
    await documents.put(T, C, "a", title="A", text="one")
    epoch = epochs.current(T, C)

    def lose_the_answer(connection: Any) -> None:
        connection.exec_driver_sql("COMMIT")
        raise OperationalError("COMMIT", None, sqlite3.OperationalError("connection lost"))

    event.listen(engine, "commit", lose_the_answer)
    with pytest.raises(StorageUnavailable):
        await documents.put(T, C, "a", title="A", text="two")
    event.remove(engine, "commit", lose_the_answer)
    assert epochs.current(T, C) not in ("", epoch)
    again = await documents.put(T, C, "a", title="A", text="two")
    assert (again.version, again.changed) == (2, False)


async def test_a_failed_publish_is_told_and_a_repeat_is_right(documents: Documents, epochs: FakeEpochs) -> None:
    epochs.before_publish.clear()
    put = asyncio.create_task(documents.put(T, C, "a", title="A", text="one"))
    await epochs.begun.wait()
    epochs.down = True
    epochs.before_publish.set()
    with pytest.raises(StorageUnavailable):
        await put
    assert epochs.current(T, C) == ""  # the mark stays until it expires: nobody is served from the cache
    epochs.down = False
    assert (await documents.put(T, C, "a", title="A", text="one")).changed is False


async def test_a_caller_who_goes_away_leaves_no_change_unpublished(documents: Documents, epochs: FakeEpochs) -> None:
    epoch = epochs.current(T, C)
    epochs.before_publish.clear()
    put = asyncio.create_task(documents.put(T, C, "a", title="A", text="one"))
    await epochs.begun.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    epochs.before_publish.set()
    await documents.settle()
    assert epochs.log == ["begin", "publish"]
    assert epochs.current(T, C) not in ("", epoch)
    assert (await documents.get(T, C, "a")).text == "one"


async def test_the_same_put_from_many_callers_is_one_version(
    documents: Documents, engine: Engine, epochs: FakeEpochs, embedder: BrokenEmbedder
) -> None:
    second_worker = Documents(engine, epochs, embedder, ManualClock())
    workers = [documents, second_worker] * 4
    states = await asyncio.gather(*(w.put(T, C, "a", title="A", text="one") for w in workers))
    assert [s.version for s in states] == [1] * 8
    assert sum(s.changed for s in states) == 1
    assert len(outbox(engine)) == 1
    assert epochs.current(T, C) != ""


async def test_different_puts_from_many_callers_get_versions_of_their_own(
    documents: Documents, engine: Engine, epochs: FakeEpochs, embedder: BrokenEmbedder
) -> None:
    second_worker = Documents(engine, epochs, embedder, ManualClock())
    puts = (
        worker.put(T, C, "a", title="A", text=f"text {n}") for n, worker in enumerate([documents, second_worker] * 4)
    )
    states = await asyncio.gather(*puts)
    assert sorted(s.version for s in states) == list(range(1, 9))
    last = max(range(8), key=lambda n: states[n].version)
    assert (await documents.get(T, C, "a")).text == f"text {last}"
    assert [row.payload["version"] for row in outbox(engine)] == list(range(1, 9))
