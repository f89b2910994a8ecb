"""Transitions of releases and prompts: which may be, what each leaves behind, what a failure half-way leaves."""

from typing import Any

import pytest
from sqlalchemy import event

from gateway.errors import Conflict, NotFound
from gateway.storage.engine import writing
from gateway.storage.models import ReleaseRow
from tasks.releases import store
from tasks.releases.stages import Stage
from tasks.releases.store import DuplicateVersion, ReleaseInProgress, StaleRelease
from tests.tasks.releases.yard import Yard

ALLOWED = {
    "gating": {"awaiting_approval", "mirror", "canary", "promoted", "refused", "inconclusive", "error", "rolled_back"},
    "awaiting_approval": {"mirror", "canary", "promoted", "refused", "rolled_back"},
    "mirror": {"mirror", "canary", "refused", "inconclusive", "rolled_back"},
    "canary": {"canary", "promoted", "rolled_back", "inconclusive"},
}


@pytest.mark.parametrize("here", list(Stage))
def test_every_move_is_allowed_or_refused(yard: Yard, here: Stage) -> None:
    yard.promote("1.0.0")
    yard.register("1.1.0")
    opened = yard.open("1.1.0")
    for there in Stage:
        with writing(yard.engine) as session:
            row = session.get_one(ReleaseRow, opened.id)
            row.stage, row.revision, row.closed_at = here.value, 0, None
            row.open_slot = "acme/help" if here.value in ALLOWED else None
        if there.value in ALLOWED.get(here.value, set()):
            moved, _ = yard.move(row, there)
            open_now = there.value in ALLOWED
            assert (moved.stage, moved.open_slot is not None, moved.closed_at is None) == (there, open_now, open_now)
        else:
            with pytest.raises(ValueError, match=f"cannot go from {here} to {there}"):
                yard.move(row, there)
            assert yard.release(row).stage == here


def test_a_promotion_serves_everybody_and_frees_the_prompt(yard: Yard) -> None:
    release = yard.promote("1.0.0")
    assert (release.weight, release.closed_at) == (10_000, yard.clock.now())
    assert yard.weights() == {"1.0.0": 10_000}
    assert yard.promote("1.1.0").baseline == "1.0.0"
    prompt = store.get_prompt(yard.engine, "acme", "help")
    assert (prompt.production, prompt.previous) == ("1.1.0", "1.0.0")
    assert yard.weights() == {"1.1.0": 10_000}


def test_a_canary_gets_its_share_and_only_grows(yard: Yard) -> None:
    release = yard.canary()
    assert yard.weights() == {"1.0.0": 7_500, "1.1.0": 2_500}
    release, _ = yard.move(release, Stage.CANARY, weight=5_000, plan_step=1)
    assert yard.weights() == {"1.0.0": 5_000, "1.1.0": 5_000}
    with pytest.raises(ValueError, match="weights only grow"):
        yard.move(release, Stage.CANARY, weight=4_999)
    yard.move(release, Stage.INCONCLUSIVE)
    assert yard.weights() == {"1.0.0": 10_000}


def test_of_two_with_the_same_view_one_is_stale(yard: Yard) -> None:
    yard.register("1.0.0")
    seen = yard.open("1.0.0")
    again = yard.release(seen)
    yard.move(seen, Stage.AWAITING_APPROVAL)
    with pytest.raises(StaleRelease):
        yard.move(again, Stage.PROMOTED)
    assert yard.release(seen).stage == Stage.AWAITING_APPROVAL
    assert yard.kinds(seen) == ["registered", "awaiting_approval"]


def test_a_release_that_is_not_there(yard: Yard) -> None:
    yard.register("1.0.0")
    gone = ReleaseRow(id="rel_gone", tenant="acme", prompt="help", revision=0)
    with pytest.raises(NotFound, match="no release rel_gone"):
        yard.move(gone, Stage.PROMOTED)
    with pytest.raises(NotFound, match="no release rel_gone"):
        yard.release(gone)


def test_one_release_of_a_prompt_at_a_time(yard: Yard) -> None:
    yard.register("1.0.0", "1.1.0")
    yard.register("1.0.0", prompt="other")
    first = yard.open("1.0.0")
    with pytest.raises(ReleaseInProgress, match=f"release {first.id} of help 1.0.0 is open .gating"):
        yard.open("1.1.0")
    assert yard.open("1.0.0").id == first.id, "an interrupted run is taken up again"
    assert yard.open("1.0.0", prompt="other").id != first.id
    yard.move(first, Stage.AWAITING_APPROVAL)
    with pytest.raises(ReleaseInProgress, match="awaiting approval"):
        yard.open("1.0.0")


def test_what_cannot_be_opened(yard: Yard) -> None:
    yard.promote("1.0.0")
    with pytest.raises(Conflict, match=r"help 1\.0\.0 is in production already"):
        yard.open("1.0.0")
    with pytest.raises(NotFound, match=r"no version 9\.9\.9"):
        yard.open("9.9.9")
    with pytest.raises(NotFound, match="no prompt named 'other'"):
        yard.open("1.0.0", prompt="other")


def test_a_version_never_changes(yard: Yard) -> None:
    yard.register("1.0.0")
    yard.register("1.0.0")
    with pytest.raises(DuplicateVersion, match="exists with another content"):
        yard.register("1.0.0", digest="other")
    assert [row.digest for row in store.list_versions(yard.engine, "acme", "help")] == ["1.0.0"]


def test_facts_about_a_version_are_noted_and_nothing_else(yard: Yard) -> None:
    yard.register("1.0.0")
    store.note_version(yard.engine, "acme", "help", "1.0.0", verdict="pass", gate_run="r")
    row = store.get_version(yard.engine, "acme", "help", "1.0.0")
    assert (row.verdict, row.gate_run, row.mlflow_version) == ("pass", "r", "")
    with pytest.raises(ValueError, match="digest of a version cannot be noted"):
        store.note_version(yard.engine, "acme", "help", "1.0.0", digest="x")


def test_the_routing_revision_grows_only_when_a_route_changes(yard: Yard) -> None:
    release = yard.canary()
    table = yard.routing()
    assert table is not None
    held, same = yard.move(release, Stage.CANARY)
    assert same == table
    _, grown = yard.move(held, Stage.CANARY, weight=5_000)
    assert grown.revision == table.revision + 1
    yard.register("0.1.0", prompt="other")
    waits, unchanged = yard.move(yard.open("0.1.0", prompt="other"), Stage.AWAITING_APPROVAL)
    assert unchanged == grown
    assert yard.move(waits, Stage.REFUSED)[1] == grown


def test_promotion_and_routes_are_one_transaction(yard: Yard) -> None:
    """When the table cannot be written, nothing else of the promotion has happened."""
    release = yard.canary()
    before = (yard.kinds(release), yard.weights())

    def fail(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE routing"):
            raise OSError("the disk is full")

    event.listen(yard.engine, "before_cursor_execute", fail)
    with pytest.raises(OSError, match="disk"):
        yard.move(release, Stage.PROMOTED)
    event.remove(yard.engine, "before_cursor_execute", fail)
    assert store.get_prompt(yard.engine, "acme", "help").production == "1.0.0"
    assert (yard.release(release).stage, yard.release(release).revision) == (Stage.CANARY, release.revision)
    assert (yard.kinds(release), yard.weights()) == before


def test_a_lease_keeps_others_out_until_it_ends(yard: Yard) -> None:
    release = yard.canary()

    def lease(owner: str) -> ReleaseRow | None:
        return store.acquire_lease(yard.engine, yard.clock, release.id, owner, 60.0)

    assert lease("a") is not None
    assert lease("a") is not None, "the owner may take it again"
    assert lease("b") is None
    store.release_lease(yard.engine, release.id, "b")
    assert lease("b") is None, "nobody gives back what another holds"
    yard.clock.advance(60.0)
    assert lease("b") is not None
    store.release_lease(yard.engine, release.id, "b")
    assert lease("a") is not None
    store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help")
    assert lease("a") is None, "it is closed"
    assert store.acquire_lease(yard.engine, yard.clock, "rel_gone", "a", 60.0) is None


def test_lists(yard: Yard) -> None:
    closed = yard.promote("1.0.0")
    yard.clock.advance(1)
    yard.register("1.1.0")
    opened = yard.open("1.1.0")
    assert [row.id for row in store.open_releases(yard.engine)] == [opened.id]
    assert store.open_releases(yard.engine, Stage.CANARY) == []
    assert [row.id for row in store.releases_of(yard.engine, "acme", "help")] == [opened.id, closed.id]
    assert [row.name for row in store.list_prompts(yard.engine)] == ["help"]
    assert store.list_prompts(yard.engine, "nobody") == []
    with pytest.raises(NotFound):
        store.list_versions(yard.engine, "acme", "other")
