"""Real threads on a real database: one wins, the others learn of it, and nothing waits for ever."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from tasks.releases import store
from tasks.releases.stages import Stage
from tasks.releases.store import ReleaseInProgress, StaleRelease
from tests.tasks.releases.yard import Yard, version_row

THREADS = 6


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Each job's result or error, all started at the same moment."""
    results: list[Any] = [None] * len(jobs)
    start = threading.Barrier(len(jobs))

    def run(index: int) -> None:
        start.wait(10)
        try:
            results[index] = jobs[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_one_of_many_moves_the_release(yard: Yard) -> None:
    release = yard.canary()
    results = at_once(*[lambda: yard.move(release, Stage.CANARY, weight=5_000)] * THREADS)
    assert sorted(type(result).__name__ for result in results) == ["StaleRelease"] * (THREADS - 1) + ["tuple"]
    assert yard.release(release).revision == release.revision + 1
    assert yard.kinds(release).count("canary") == 1


def test_one_of_many_opens_a_release(yard: Yard) -> None:
    versions = [f"1.{number}.0" for number in range(THREADS)]
    yard.register(*versions)
    results = at_once(*[lambda version=version: yard.open(version) for version in versions])
    assert sum(isinstance(result, ReleaseInProgress) for result in results) == THREADS - 1
    assert len(store.open_releases(yard.engine)) == 1


def test_many_register_the_same_version(yard: Yard) -> None:
    results = at_once(*[lambda: store.register_version(yard.engine, yard.clock, version_row("1.0.0"))] * THREADS)
    assert [result.version for result in results] == ["1.0.0"] * THREADS
    assert len(store.list_versions(yard.engine, "acme", "help")) == 1


def test_first_promotions_of_two_prompts_at_once_are_both_routed(yard: Yard) -> None:
    releases = []
    for prompt in ("help", "other"):
        yard.register("1.0.0", prompt=prompt)
        releases.append(yard.open("1.0.0", prompt=prompt))
    results = at_once(*[lambda row=row: yard.move(row, Stage.PROMOTED) for row in releases])
    assert all(isinstance(result, tuple) for result in results), results
    first, second = sorted(result[1].revision for result in results)
    assert second == first + 1
    assert yard.weights("help") == yard.weights("other") == {"1.0.0": 10_000}


def test_a_rollback_against_a_promotion_ends_in_one_truth(yard: Yard) -> None:
    """They lock in the same order: no deadlock, and whoever comes second sees what the first did."""
    yard.promote("1.0.0")
    for number in range(1, 6):
        yard.register(f"1.{number}.0")
        release = yard.open(f"1.{number}.0")
        before = store.get_prompt(yard.engine, "acme", "help").production
        promoted, back = at_once(
            partial(yard.move, release, Stage.PROMOTED),
            lambda: store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help"),
        )
        assert isinstance(back, tuple), back
        assert back[0] == before, "whichever was first, what served before serves again"
        assert isinstance(promoted, tuple | StaleRelease), promoted
        assert yard.weights() == {before: 10_000}
        assert not store.open_releases(yard.engine)


def test_many_rollbacks_of_one_incident_roll_back_once(yard: Yard) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        yard.promote(version)
        yard.clock.advance(1)
    seen = store.standing(yard.engine, "acme", "help")
    results = at_once(
        *[lambda: store.roll_back(yard.engine, yard.clock, tenant="acme", prompt="help", expected=seen)] * THREADS
    )
    assert sorted(type(result).__name__ for result in results) == ["StandingChanged"] * (THREADS - 1) + ["tuple"]
    assert store.get_prompt(yard.engine, "acme", "help").production == "1.1.0"


def test_one_of_many_gets_the_lease(yard: Yard) -> None:
    release = yard.canary()
    owners = [
        lambda name=name: store.acquire_lease(yard.engine, yard.clock, release.id, name, 60)
        for name in map(str, range(THREADS))
    ]
    assert sum(row is not None for row in at_once(*owners)) == 1
