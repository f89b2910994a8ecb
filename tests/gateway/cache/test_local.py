"""The process's own memory: bounds hold under any sequence, and what was removed or is over is never returned."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.cache.local import OVERHEAD, LocalEntries
from gateway.clock import ManualClock

NAMES = [f"py:x:{{{tenant}|raw}}:{number}" for tenant in ("acme", "other") for number in range(6)]
MAX_ENTRIES, MAX_BYTES = 5, 8 * 600
LARGEST = MAX_BYTES // 8 - OVERHEAD - len(NAMES[0])


class Memory(RuleBasedStateMachine):
    """Against a model without bounds: the memory may know less, never more, and never anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.held = LocalEntries(self.clock, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)
        self.model: dict[str, tuple[bytes, float]] = {}

    @rule(
        name=st.sampled_from(NAMES),
        fill=st.integers(0, 255),
        size=st.integers(0, LARGEST + 50),
        ttl=st.integers(-1, 50),
    )
    def put(self, name: str, fill: int, size: int, ttl: int) -> None:
        value = bytes([fill]) * size
        taken = self.held.put(name, value, ttl)
        assert taken == (ttl > 0 and size <= LARGEST)
        self.model.pop(name, None)
        if taken:
            self.model[name] = value, self.clock.monotonic() + ttl
            assert self.held.get(name) == value

    @rule(name=st.sampled_from(NAMES))
    def get(self, name: str) -> None:
        found = self.held.get(name)
        if found is not None:
            value, until = self.model[name]
            assert found == value
            assert self.clock.monotonic() < until

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: str) -> None:
        self.held.remove(name)
        self.model.pop(name, None)
        assert self.held.get(name) is None

    @rule()
    def clear(self) -> None:
        self.held.clear()
        self.model.clear()

    @rule(seconds=st.integers(0, 30))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def bounded(self) -> None:
        assert len(self.held) <= MAX_ENTRIES
        assert self.held.bytes <= MAX_BYTES
        assert (self.held.bytes == 0) == (len(self.held) == 0)


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_least_recently_used_goes_first() -> None:
    held = LocalEntries(ManualClock(), max_entries=2)
    held.put("a", b"1", 10)
    held.put("b", b"2", 10)
    assert held.get("a") == b"1"
    held.put("c", b"3", 10)
    assert [held.get(name) for name in "abc"] == [b"1", None, b"3"]


def test_bytes_bound_before_entries_do() -> None:
    held = LocalEntries(ManualClock(), max_entries=100, max_bytes=8_000)
    for number in range(100):
        held.put(f"{number:03}", b"x" * 500, 10)
    assert len(held) == 8_000 // (503 + OVERHEAD)
    assert held.get("099") is not None


def test_a_hit_does_not_extend_its_time() -> None:
    clock = ManualClock()
    held = LocalEntries(clock)
    held.put("a", b"1", 10)
    clock.advance(9)
    assert held.get("a") == b"1"
    clock.advance(1)
    assert held.get("a") is None
    assert held.bytes == 0


def test_nothing_is_held_where_nothing_may_be() -> None:
    held = LocalEntries(ManualClock(), max_entries=0)
    assert not held.put("a", b"1", 10)
    assert held.get("a") is None
