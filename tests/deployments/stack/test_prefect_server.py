"""Garbage is finalised beside the thread that made it, so that SQLite cannot make an event loop wait."""

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from deployments.stack.prefect_server import collect_in_background


class Knot:
    """Refers to itself, as an exception's traceback refers to a cursor."""

    def __init__(self) -> None:
        self.itself = self


class Rounds:
    """Lets the collector go round when told to."""

    def __init__(self) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._over = False
        self._first = True

    def wait(self, _seconds: float) -> bool:
        if not self._first:
            self._done.release()
        self._first = False
        assert self._go.acquire(timeout=30)
        return self._over

    def turn(self) -> None:
        self._go.release()
        assert self._done.acquire(timeout=30)

    def end(self, thread: threading.Thread) -> None:
        self._over = True
        self._go.release()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def rounds() -> Iterator[Rounds]:
    rounds = Rounds()
    thread = collect_in_background(rounds.wait, every=1.0, full=2)
    yield rounds
    rounds.end(thread)
    gc.enable()


def where_it_ends(knots: list[str]) -> None:
    weakref.finalize(Knot(), lambda: knots.append(threading.current_thread().name))


def test_knots_are_undone_in_the_collectors_thread(rounds: Rounds) -> None:
    assert not gc.isenabled()
    ended: list[str] = []
    for number in range(1, 4):
        where_it_ends(ended)
        rounds.turn()
        assert ended == ["garbage"] * number


def test_what_grew_old_is_undone_by_a_full_round(rounds: Rounds) -> None:
    ended: list[str] = []
    knot = Knot()
    weakref.finalize(knot, lambda: ended.append(threading.current_thread().name))
    gc.collect()  # it is of the oldest generation now
    del knot
    rounds.turn()
    assert ended == []
    rounds.turn()
    assert ended == ["garbage"]
