"""A sealed release's certificate is filed once, by whichever reconcile can, and by nobody before that."""

import json
from collections.abc import Mapping

import pytest

from gateway.errors import StorageUnavailable
from gateway.storage.models import ReleaseRow
from tasks.certificates.filing import HORIZON, file_certificates, unfiled
from tasks.certificates.pictures import picture, picture_files, worth_drawing
from tasks.releases import store
from tasks.releases.replay import replay
from tasks.releases.sealing import PATIENCE, seal_closed
from tests.tasks.releases.yard import Yard


class Shelf:
    """Where files go; down at first if so asked."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.files: dict[str, Mapping[str, str]] = {}

    def __call__(self, release: ReleaseRow, texts: Mapping[str, str]) -> None:
        if self.down:
            raise StorageUnavailable("no answer")
        assert release.id not in self.files, "filed twice"
        self.files[release.id] = texts


def sealed(yard: Yard) -> None:
    yard.clock.advance(PATIENCE + 1)
    assert seal_closed(yard.engine, yard.clock)


def test_nothing_is_filed_before_the_seal(yard: Yard, rolled_back: ReleaseRow) -> None:
    shelf = Shelf()
    assert file_certificates(yard.engine, yard.clock, shelf) == []
    assert shelf.files == {}


def test_a_sealed_release_is_filed_once_with_record_and_page(yard: Yard, rolled_back: ReleaseRow) -> None:
    sealed(yard)
    shelf = Shelf()
    filed = file_certificates(yard.engine, yard.clock, shelf)
    assert rolled_back.id in {one.release.id for one in filed if not one.problem}
    texts = shelf.files[rolled_back.id]
    record = json.loads(texts["certificate.json"])
    assert (record["release"]["id"], record["evidence"]["sealed"]) == (rolled_back.id, True)
    assert texts["certificate.html"].startswith("<!doctype html>")
    assert file_certificates(yard.engine, yard.clock, shelf) == []
    assert replay(yard.engine, rolled_back.id).holds, "the note that it is filed is no change of the release"


def test_it_waits_while_there_is_nowhere_to_file_it(yard: Yard, rolled_back: ReleaseRow) -> None:
    sealed(yard)
    shelf = Shelf(down=True)
    first = file_certificates(yard.engine, yard.clock, shelf)
    assert {one.problem for one in first} == {"StorageUnavailable"}
    shelf.down = False
    assert not any(one.problem for one in file_certificates(yard.engine, yard.clock, shelf))
    assert set(shelf.files) == {one.release.id for one in first} >= {rolled_back.id}


def test_after_a_month_it_is_let_go(yard: Yard, rolled_back: ReleaseRow) -> None:
    sealed(yard)
    assert unfiled(yard.engine, yard.clock.now())
    assert unfiled(yard.engine, yard.clock.now() + HORIZON + 1) == []


@pytest.mark.parametrize(
    ("stage", "look", "expected"),
    [
        ("canary", None, False),
        ("canary", 1, True),
        ("canary", 10, True),
        ("canary", 11, False),
        ("canary", 20, True),
        ("promoted", 11, True),
        ("rolled_back", None, False),
    ],
)
def test_a_long_release_is_not_drawn_every_minute(stage: str, look: int | None, expected: bool) -> None:
    assert worth_drawing(stage, {} if look is None else {"look": look}) is expected


def test_the_pictures_of_a_release(yard: Yard, rolled_back: ReleaseRow) -> None:
    steps = store.steps_of(yard.engine, rolled_back.id)
    assert set(picture_files(steps)) == {"pictures/evidence-by-user.svg", "pictures/share-of-the-users.svg"}
    assert "rolls back at 40" in picture("help 1.1.0", steps)
