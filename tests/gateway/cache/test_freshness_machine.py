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


def served(machine: Interleavings, worker: int) -> tuple[str, str]:
    """Which upstream call's answer a question gets now, and why."""
    machine.ask_on_its_own(worker, 1, 200)
    answer = machine.world.workers[worker].outside.answers[-1]
    return answer.reply.text[:13], answer.cache_reason


def test_what_aged_is_served_at_once_and_made_anew_once_for_all_who_ask(over: Over) -> None:
    machine = over(ExactCache)()
    machine.documents_are_there({"a"})
    machine.ask_on_its_own(0, 1, 200)
    machine.go_on_to_the_end()
    assert served(machine, 0) == ("answer 000001", "hit")
    machine.time_passes(120.0)
    for worker in (0, 1):  # on each worker, while it is being made: nobody waits
        machine.ask(worker, False, 1)
    machine.go_on_to_the_end()
    machine.ask(0, False, 1)
    machine.go_on_to_the_end()
    reasons = [(one.call.origin.value, one.cache_reason) for one in machine.world.workers[0].outside.answers]
    assert reasons == [("live", "miss"), ("live", "hit"), ("live", "aged"), ("refresh", "aged"), ("live", "hit")]
    assert served(machine, 0) != ("answer 000001", "hit")
    machine.teardown()


def test_a_change_of_documents_is_stronger_than_serving_what_aged(over: Over) -> None:
    machine = over(ExactCache)()
    machine.documents_are_there({"a"})
    machine.ask_on_its_own(0, 1, 200)
    machine.time_passes(120.0)
    machine.put_on_its_own(1, "a", 200)
    machine.ask_on_its_own(0, 1, 200)
    answer = machine.world.workers[0].outside.answers[-1]
    assert (answer.layer.value, answer.cache_reason) == ("none", "expired")
    machine.teardown()
