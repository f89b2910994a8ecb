"""A cut that is acknowledged holds for every worker, though none of them reads it for each call."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.trust import MARGIN, TRUST, TrustedCuts
from gateway.clock import ManualClock
from gateway.errors import StorageUnavailable


class Book:
    """The cuts of a tenant in memory, for all workers; counts who reads."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}
        self.reads = 0
        self.away = False
        self.gate: asyncio.Event | None = None

    async def current(self, tenant: str, prompt: str = "", version: str = "", tags: Sequence[str] = ()) -> str:
        self.reads += 1
        if self.away:
            return ""
        token = f"g.{self.tokens.get(tenant, 0)}"
        if self.gate is not None:
            await self.gate.wait()
        return token

    async def cut(self, tenant: str, *, prompt: str = "", version: str = "", tag: str = "") -> None:
        if self.away:
            raise StorageUnavailable("away")
        self.tokens[tenant] = self.tokens.get(tenant, 0) + 1


@pytest.fixture
def book() -> Book:
    return Book()


def worker(book: Book, clock: ManualClock) -> TrustedCuts:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    return TrustedCuts(book, clock, sleep=sleep)


async def test_a_reading_counts_for_its_moment_and_is_asked_for_once(book: Book, clock: ManualClock) -> None:
    cuts = worker(book, clock)
    assert [await cuts.current("acme", "help") for _ in range(5)] == ["g.0"] * 5
    assert book.reads == 1
    assert await cuts.current("acme", "other") == "g.0"
    assert await cuts.current("other", "help") == "g.0"
    assert book.reads == 3
    clock.advance(TRUST)
    await cuts.current("acme", "help")
    assert book.reads == 4


async def test_an_acknowledged_cut_holds_on_the_worker_that_read_last(book: Book, clock: ManualClock) -> None:
    reader, remover = worker(book, clock), worker(book, clock)
    assert await reader.current("acme") == "g.0"
    began = clock.now()
    await remover.cut("acme")
    assert clock.now() - began == pytest.approx(TRUST + MARGIN)
    assert await reader.current("acme") == "g.1"
    assert await remover.current("acme") == "g.1"


async def test_a_reading_counts_from_when_it_was_asked_for(book: Book, clock: ManualClock) -> None:
    """It may have been answered long before it arrived."""
    reader, remover = worker(book, clock), worker(book, clock)
    book.gate = asyncio.Event()
    slow = asyncio.ensure_future(reader.current("acme"))
    await asyncio.sleep(0)
    await remover.cut("acme")
    book.gate.set()
    assert await slow == "g.0"  # it began before the cut
    assert await reader.current("acme") == "g.1"


async def test_nothing_is_trusted_that_was_not_read(book: Book, clock: ManualClock) -> None:
    cuts = worker(book, clock)
    book.away = True
    assert [await cuts.current("acme") for _ in range(2)] == ["", ""]
    with pytest.raises(StorageUnavailable):
        await cuts.cut("acme")
    book.away = False
    assert await cuts.current("acme") == "g.0"


class Sleeping(ManualClock):
    """A machine that slept: one clock stood still, or was set."""

    def __init__(self, monotonic: bool) -> None:
        super().__init__()
        self.missed = 0.0
        self._stands = monotonic

    def monotonic(self) -> float:
        return super().monotonic() - (self.missed if self._stands else 0.0)

    def now(self) -> float:
        return super().now() - (0.0 if self._stands else self.missed)


@pytest.mark.parametrize("monotonic", [True, False])
async def test_either_clock_may_stand_still_or_be_set_back(book: Book, monotonic: bool) -> None:
    clock = Sleeping(monotonic)
    cuts = worker(book, clock)
    assert await cuts.current("acme") == "g.0"
    book.tokens["acme"] = 1
    clock.advance(3600)
    clock.missed = 3600.0
    assert await cuts.current("acme") == "g.1"
    clock.missed = 7200.0 if not monotonic else clock.missed
    book.tokens["acme"] = 2
    if not monotonic:
        assert await cuts.current("acme") == "g.2"


async def test_names_are_bounded(book: Book, clock: ManualClock) -> None:
    cuts = worker(book, clock)
    for number in range(5_000):
        await cuts.current("acme", str(number))
    assert len(cuts._readings) == 4096


STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "read", "read", "cut", "wait"]), st.integers(0, 2), st.floats(0, 0.4)),
    max_size=40,
)


@given(STEPS)
async def test_no_sequence_gives_a_token_from_before_an_acknowledged_cut(
    steps: list[tuple[str, int, float]],
) -> None:
    book, clock = Book(), ManualClock()
    workers = [worker(book, clock) for _ in range(3)]
    for step, number, seconds in steps:
        if step == "read":
            assert await workers[number].current("acme") == f"g.{book.tokens.get('acme', 0)}"
        elif step == "cut":
            await workers[number].cut("acme")
        else:
            clock.advance(seconds)
