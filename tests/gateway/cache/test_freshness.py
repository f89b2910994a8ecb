"""No interleaving of readers, calls in flight, writers and failing servers serves an answer of an older corpus than
the newest acknowledged one. The same machine with a check taken out does find a stale answer, so it can find one.

The servers are real. A crash that loses writes is played by putting an older dump of the state back under a run id
that is not the server's, and closing the connections: what a restart from an old append-only file looks like.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule, run_state_machine_as_test
from msgspec import structs
from redis.asyncio import Redis

from gateway.cache.epochs import PENDING_SECONDS, Epochs
from gateway.cache.exact import ExactCache
from gateway.clock import ManualClock
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import RUN_ID_KEY, connect
from gateway.types import Call
from tests.gateway.cache.conftest import TIMEOUT
from tests.gateway.cache.specimens import MANAGED, REPLY
from tests.servers import RedisServer

HELP = ("acme", "help")


class StaleAnswer(AssertionError):
    """A reader got an answer of a corpus older than the one that was acknowledged before it asked."""


class InFlight:
    """A call that missed. It reads the corpus at once, or (None) just before its answer is kept."""

    def __init__(self, call: Call, corpus: int | None) -> None:
        self.call = call
        self.corpus = corpus


class Writer:
    """A document change between its steps."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.committed = 0


class Freshness(RuleBasedStateMachine):
    """``corpus`` stands for SQL: a number that each commit raises. An answer is the number it was made from."""

    loop: asyncio.Runner
    state: Redis
    entries: Redis
    state_line: RedisLine
    entry_line: RedisLine
    guarded = True

    calls: Bundle[InFlight] = Bundle("calls")
    writers: Bundle[Writer] = Bundle("writers")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.epochs = Epochs(self.state, clock=self.clock, timeout=TIMEOUT, line=self.state_line)
        self.cache = self.make_cache(self.entries, self.epochs)
        self.corpus = 0
        self.acknowledged = 0
        self.on_disk: dict[bytes, bytes] = {}

    def make_cache(self, redis: Redis, epochs: Epochs) -> ExactCache:
        return ExactCache(
            redis, epochs, clock=self.clock, entropy=random.Random(3), timeout=TIMEOUT, line=self.entry_line
        )

    def at_the_write(self, call: Call) -> Call:
        """What is kept carries the epoch that the call began under."""
        return call

    @initialize()
    def empty_servers(self) -> None:
        self.loop.run(self._flush(self.state))
        self.loop.run(self._flush(self.entries))

    # --- readers and calls in flight

    @rule(target=calls, read=st.booleans())
    def ask(self, read: bool) -> InFlight:
        call = structs.replace(MANAGED, epoch=self._epoch())
        found = self.loop.run(self.cache.find(call))
        if found.reply is not None and int(found.reply.text) < self.acknowledged:
            raise StaleAnswer(f"an answer of corpus {found.reply.text}, when {self.acknowledged} was acknowledged")
        return InFlight(call, self.corpus if read else None)

    @rule(flight=consumes(calls))
    def keep(self, flight: InFlight) -> None:
        corpus = self.corpus if flight.corpus is None else flight.corpus
        reply = structs.replace(REPLY, message={"role": "assistant", "content": str(corpus)})
        self.loop.run(self.cache.keep(self.at_the_write(flight.call), reply))

    @rule()
    def ask_and_keep(self) -> None:
        self.keep(self.ask(read=True))

    # --- writers: a step each, so that everything else may happen in between; any of them may die anywhere

    @rule(target=writers)
    def begin_a_change(self) -> Writer:
        return Writer(self.loop.run(self.epochs.begin(*HELP)))

    @rule(writer=writers)
    def commit(self, writer: Writer) -> None:
        if not writer.committed:
            self.corpus += 1
            writer.committed = self.corpus

    @rule(writer=consumes(writers))
    def publish(self, writer: Writer) -> None:
        self.loop.run(self.epochs.publish(*HELP, writer.token))
        self.acknowledged = max(self.acknowledged, writer.committed)

    @rule(writer=consumes(writers))
    def abandon(self, writer: Writer) -> None:
        if not writer.committed:
            self.loop.run(self.epochs.abandon(*HELP, writer.token))

    @rule()
    def change_at_once(self) -> None:
        writer = self.begin_a_change()
        self.commit(writer)
        self.publish(writer)

    # --- time and trouble

    @rule(trouble=st.sampled_from(["a moment", "marks expire", "entries expire", "lose the cache", "lose the state"]))
    def go_through(self, trouble: str) -> None:
        if trouble == "lose the cache":
            self.loop.run(self._flush(self.entries))
        elif trouble == "lose the state":
            self.loop.run(self._flush(self.state))
        else:
            self.clock.advance({"a moment": 1.0, "marks expire": PENDING_SECONDS, "entries expire": 100.0}[trouble])

    @rule()
    def flush_to_disk(self) -> None:
        self.on_disk = self.loop.run(self._dump())

    @rule()
    def crash(self) -> None:
        self.loop.run(self._restore(self.on_disk))

    def _epoch(self) -> str:
        return self.loop.run(self._await(self.epochs.current(*HELP)))

    async def _await(self, answer: Awaitable[str]) -> str:
        return await answer

    async def _flush(self, redis: Redis) -> None:
        await redis.flushall()

    async def _dump(self) -> dict[bytes, bytes]:
        names = [name for name in await self.state.keys() if isinstance(name, bytes)]
        return {name: bytes(await self.state.dump(name) or b"") for name in names}

    async def _restore(self, dump: dict[bytes, bytes]) -> None:
        await self.state.flushall()
        for name, value in dump.items():
            await self.state.restore(name, 0, value)
        await self.state.set(RUN_ID_KEY, "an earlier run")
        await self.state.connection_pool.disconnect()


class NeverChanging:
    """Neither the check at the read nor the one at the write."""

    async def current(self, tenant: str, collection: str) -> str:
        return "always.the-same"


class WithoutAnyCheck(Freshness):
    def make_cache(self, redis: Redis, epochs: Epochs) -> ExactCache:
        return ExactCache(
            redis, NeverChanging(), clock=self.clock, entropy=random.Random(3), timeout=TIMEOUT, line=self.entry_line
        )

    def _epoch(self) -> str:
        return "always.the-same"


class WithoutTheCheckAtTheWrite(Freshness):
    """The answer is kept under the epoch of the moment it is written, whatever it was made from."""

    def at_the_write(self, call: Call) -> Call:
        return structs.replace(call, epoch=self._epoch())


class WithoutTheGuard(Freshness):
    guarded = False


Place = Callable[[type[Freshness]], type[Freshness]]


@pytest.fixture
def place(cache_server: RedisServer, state_server: RedisServer) -> Iterator[Place]:
    """Gives a machine its servers; all its examples share one loop and one pair of clients."""
    with asyncio.Runner() as loop:
        clients: list[Redis] = []

        def placed(machine: type[Freshness]) -> type[Freshness]:
            state = connect(state_server.url, timeout=TIMEOUT, connections=2, guarded=machine.guarded)
            entries = connect(cache_server.url, timeout=TIMEOUT, connections=2)
            clients.extend((state, entries))
            lines = {
                "state_line": RedisLine(state, timeout=TIMEOUT),
                "entry_line": RedisLine(entries, timeout=TIMEOUT),
            }
            return type(machine.__name__, (machine,), {"loop": loop, "state": state, "entries": entries, **lines})

        yield placed
        for client in clients:
            loop.run(client.aclose())


def explore(machine: type[Freshness], examples: int, *phases: Phase) -> None:
    """Up to ``examples`` interleavings of up to 25 steps."""
    exploration = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=exploration)


def test_no_interleaving_serves_a_stale_answer(place: Place) -> None:
    explore(place(Freshness), 120, Phase.generate, Phase.shrink)


def test_without_any_check_one_is_found(place: Place) -> None:
    with pytest.raises(StaleAnswer):
        explore(place(WithoutAnyCheck), 1000, Phase.generate)


def an_answer_that_is_written_late(machine: Freshness) -> None:
    flight = machine.ask(read=True)
    machine.change_at_once()
    machine.keep(flight)
    machine.ask(read=True)


def a_crash_that_loses_the_acknowledged_change(machine: Freshness) -> None:
    machine.ask_and_keep()
    machine.flush_to_disk()
    machine.change_at_once()
    machine.crash()
    machine.ask(read=True)


STORIES = [
    (WithoutTheCheckAtTheWrite, an_answer_that_is_written_late),
    (WithoutTheGuard, a_crash_that_loses_the_acknowledged_change),
]


@pytest.mark.parametrize(("weakened", "story"), STORIES)
def test_each_check_is_needed(place: Place, weakened: type[Freshness], story: Callable[[Freshness], None]) -> None:
    whole = place(Freshness)()
    whole.empty_servers()
    story(whole)
    lacking = place(weakened)()
    lacking.empty_servers()
    with pytest.raises(StaleAnswer):
        story(lacking)
