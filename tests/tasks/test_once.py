"""An occasion has one event, whoever says it and however often."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine, select

from gateway.clock import ManualClock
from gateway.storage.engine import reading
from gateway.storage.models import OutboxRow
from tasks.once import announce_once, announcement_id


def test_one_event_an_occasion(engine: Engine, clock: ManualClock) -> None:
    def say(*occasion: str) -> bool:
        return announce_once(engine, clock, "promptyard.test", "promptyard.prompt.x", {"a": 1}, occasion)

    assert [say("x", "monday"), say("x", "monday"), say("x", "tuesday"), say("xm", "onday")] == [
        True,
        False,
        True,
        True,
    ]
    with reading(engine) as session:
        rows = list(session.scalars(select(OutboxRow)))
    assert len(rows) == 3
    assert {row.sent_at for row in rows} == {None}
    assert {len(row.id) for row in rows} == {40}


def test_of_several_at_once_one_speaks(engine: Engine, clock: ManualClock) -> None:
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: announce_once(engine, clock, "promptyard.test", "r", {}, ["x"]), range(8)))
    assert said.count(True) == 1


def test_event_is_part_of_the_occasion() -> None:
    assert announcement_id("a", ["b"]) != announcement_id("b", ["a"])
