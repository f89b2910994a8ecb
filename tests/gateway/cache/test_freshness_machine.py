"""No interleaving of readers, writers, removals, time and dying servers serves what an acknowledged change made wrong.

Over the real pipeline, producer, documents, search and all layers of the cache; Redis and SQL are real as well. The
same machine over a cache with one check taken out does find such an answer. ``python -m tests.bench freshness`` goes
through 10,000 interleavings.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.cache.exact import ExactCache
from gateway.settings import Settings
from gateway.storage.engine import make_engine
from gateway.storage.models import Base
from tests.freshness.machine import (
    CutsNotLookedAt,
    EpochNotLookedAt,
    Interleavings,
    KeptUnderTheEpochOfTheWrite,
    explore,
    hold_at_each_await,
)
from tests.freshness.seams import Gate, Server
from tests.freshness.world import StaleAnswer
from tests.servers import RedisServer

Over = Callable[[type[ExactCache]], type[Interleavings]]


@pytest.fixture
def over(cache_server: RedisServer, state_server: RedisServer, tmp_path: Path) -> Iterator[Over]:
    engine = make_engine("sqlite://")
    Base.metadata.create_all(engine)
    gate = Gate()
    servers = {"state": Server(state_server.url, gate), "entries": Server(cache_server.url, gate)}
    shared = {"engine": engine, "settings": Settings.model_validate({"home": tmp_path}), "gate": gate, **servers}
    yield lambda exact: type(exact.__name__, (Interleavings,), {"exact": exact, **shared})
    for server in servers.values():
        server.close()
    engine.dispose()


def test_an_answer_that_stands_still_at_any_await_while_a_document_changes_is_not_served_later(over: Over) -> None:
    assert hold_at_each_await(over(ExactCache)) > 8


def test_no_interleaving_serves_a_stale_answer(over: Over) -> None:
    machine = over(ExactCache)
    explore(machine, 30)
    assert machine.count > 10
    assert machine.served > 30


def test_without_the_check_at_the_write_it_is(over: Over) -> None:
    with pytest.raises(StaleAnswer):
        hold_at_each_await(over(KeptUnderTheEpochOfTheWrite))


@pytest.mark.parametrize("weakened", [EpochNotLookedAt, CutsNotLookedAt])
def test_without_a_check_at_the_read_one_is_found(over: Over, weakened: type[ExactCache]) -> None:
    with pytest.raises(StaleAnswer):
        explore(over(weakened), 2_000)
