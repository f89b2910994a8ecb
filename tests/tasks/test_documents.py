"""A document changes: what was lost is answered again, nothing stale is served, and a run may be killed anywhere."""

from dataclasses import replace

from msgspec import structs
from sqlalchemy import select

from gateway.clock import SystemClock
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, DocumentRow
from gateway.types import Layer
from tasks.documents import (
    Pending,
    Refreshed,
    answer_again,
    note_refreshed,
    pending_documents,
    remove_orphans,
    serving_versions,
)
from tasks.lost_questions import Asked, LostQuestion, choose, lost_questions
from tests.tasks.conftest import Station

HOW_LONG, STRIPES = "How long do refunds take?", "Do zebras have stripes?"


def lost(station: Station, *documents: str, top: int = 100) -> list[LostQuestion]:
    versions = serving_versions.fn(station.settings, "acme", "articles")
    return lost_questions.fn(station.settings, SystemClock(), "acme", "articles", documents, versions, top)


def refresh(station: Station, *documents: str, budget: float = 1.0) -> Refreshed:
    """What the flow does for a collection, up to the note."""
    found = answer_again.fn(station.settings, "acme", "articles", lost(station, *documents), budget)
    return remove_orphans.fn(station.settings, found)


def test_whole_way_of_a_change(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.put("zebras", "Zebras have stripes.")
    for question in (HOW_LONG, STRIPES):
        assert station.ask(question).layer is Layer.NONE
        assert station.ask(question).layer is Layer.EXACT
    assert note_refreshed.fn(station.settings, pending_documents.fn(station.settings, 10))
    assert pending_documents.fn(station.settings, 10) == []

    station.put("refunds", "Refunds take three days.")
    waiting = pending_documents.fn(station.settings, 10)
    assert waiting == [Pending("acme", "articles", "refunds", 2, deleted=False)]
    found = refresh(station, "refunds")
    assert (found.lost, found.answered, found.still_true, found.failed) == (2, 1, 1, 0)  # zebras are as they were
    assert (found.checked, found.from_cache, found.stale, found.removed) == (2, 2, (), 0)
    assert found.done
    assert found.cost_usd > 0
    assert "doc:articles/refunds@2" in found.rows[0]["documents"]  # the one that the change touched comes first

    calls = station.provider.calls
    answer = station.ask(HOW_LONG)
    assert answer.layer is Layer.EXACT
    assert "three days" in answer.reply.text
    assert station.provider.calls == calls

    assert note_refreshed.fn(station.settings, waiting) == waiting
    assert pending_documents.fn(station.settings, 10) == []
    again = refresh(station, "refunds")
    assert (again.answered, again.removed, again.done) == (0, 0, True)


def test_deleted_document_is_in_no_answer_any_more(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.put("zebras", "Zebras have stripes.")
    station.ask(HOW_LONG)
    station.delete("refunds")
    waiting = pending_documents.fn(station.settings, 10)
    assert Pending("acme", "articles", "refunds", 2, deleted=True) in waiting
    found = refresh(station, "refunds")
    assert (found.checked, found.stale) == (1, ())
    assert "ten days" not in station.ask(HOW_LONG).reply.text
    assert len(note_refreshed.fn(station.settings, waiting)) == 2


def test_questions_that_redis_has_forgotten_come_from_the_ledger(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.put("zebras", "Zebras have stripes.")
    station.ask(HOW_LONG)
    station.ask(STRIPES)
    station.ship()
    station.run(station.gateway.cache_redis.flushall())
    station.put("refunds", "Refunds take three days.")
    assert [one.variables["question"] for one in lost(station, "refunds")] == [HOW_LONG]
    assert lost(station, "refund") == []  # no name is a pattern, or the beginning of another
    assert lost(station, "______s") == []


def test_killed_before_the_end_another_run_finds_the_same(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask(HOW_LONG)
    station.put("refunds", "Refunds take three days.")
    first = lost(station, "refunds")
    assert [one.text for one in lost(station, "refunds")] == [one.text for one in first] == [HOW_LONG]
    answer_again.fn(station.settings, "acme", "articles", first, 1.0)  # killed here
    assert refresh(station, "refunds").stale == ()
    assert [one.version for one in pending_documents.fn(station.settings, 10)] == [2]


def test_old_answers_of_versions_that_serve_no_more_are_removed_and_not_repeated(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask(HOW_LONG, structs.replace(station.version, version="0.9.0"))
    station.put("refunds", "Refunds take three days.")
    found = refresh(station, "refunds")
    assert (found.lost, found.removed) == (0, 1)
    assert station.kept() == []


def test_newer_version_stays_pending(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    waiting = pending_documents.fn(station.settings, 10)
    station.put("refunds", "Refunds take three days.")
    assert note_refreshed.fn(station.settings, waiting) == []
    assert [one.version for one in pending_documents.fn(station.settings, 10)] == [2]


def test_budget_bounds_the_run(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    for number in range(20):
        station.ask(f"{HOW_LONG} {number}")
    station.put("refunds", "Refunds take three days.")
    found = refresh(station, "refunds", budget=1e-9)
    assert (found.lost, found.answered, found.checked) == (20, 16, 16)  # one batch
    assert "budget" in found.note
    assert found.done


def test_outage_leaves_it_to_the_next_run(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask(HOW_LONG)
    station.put("refunds", "Refunds take three days.")
    station.provider.down = True
    found = refresh(station, "refunds")
    assert (found.failed, found.checked, found.done) == (1, 0, False)


def test_stale_answer_would_be_found(station: Station) -> None:
    """The promise is broken on purpose: a document changes in SQL without its epoch."""
    station.put("refunds", "Refunds take ten days.")
    station.ask(HOW_LONG)
    station.ship()
    with writing(station.engine) as session:
        session.get_one(DocumentRow, ("acme", "articles", "refunds")).version += 1
    found = answer_again.fn(station.settings, "acme", "articles", lost(station, "refunds"), 1.0)
    assert found.stale == ("doc:articles/refunds@1",)
    assert not found.done


def test_choice_is_touched_first_then_most_asked(station: Station) -> None:
    def asked(question: str, count: int = 0, touched: bool = False) -> Asked:
        return Asked("help", {"question": question}, (), count, touched)

    kept = [asked("rare"), asked("often"), asked("touched in the cache", touched=True)]
    live = [asked("often", 9), asked("touched live", 3, touched=True), asked("not lost", 50)]
    personal = structs.replace(station.version, name="diary", personal=True)
    found = choose([*kept, replace(kept[0], prompt="diary")], live, [station.version, personal], 10)
    assert [(one.variables["question"], one.count) for one in found] == [
        ("touched live", 3),
        ("touched in the cache", 0),
        ("often", 9),
        ("rare", 0),
    ]
    assert [one.text for one in choose(kept, live, [station.version], 2)] == ["touched live", "touched in the cache"]
    canary = structs.replace(station.version, version="1.1.0")
    assert [one.version.version for one in choose(kept[:1], [], [station.version, canary], 9)] == ["1.0.0", "1.1.0"]


def test_refreshing_is_no_live_traffic(station: Station) -> None:
    station.put("refunds", "Refunds take ten days.")
    station.ask(HOW_LONG)
    station.put("refunds", "Refunds take three days.")
    refresh(station, "refunds")
    station.ship()
    with reading(station.engine) as session:
        origins = list(session.scalars(select(CallRow.origin).order_by(CallRow.started_at)))
    assert origins == ["live", "warm", "probe"]
