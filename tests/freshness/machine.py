"""Every interleaving of readers, writers, removals, time and dying servers that hypothesis can think of.

A step lets one held operation take effect, or be answered, or begins something; nothing else runs. ``Interleavings``
counts them: one is a sequence of steps in which something was served.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec import structs
from sqlalchemy import Engine

from gateway.cache.entry import decode
from gateway.cache.exact import ExactCache, Lookup, Prepared
from gateway.settings import Settings
from gateway.types import Call, Candidate, Reply
from tests.freshness.seams import Gate, HeldThreads, Server
from tests.freshness.world import World

workers = st.integers(0, 1)
ids = st.sampled_from(["a", "a", "b"])
questions = st.sampled_from([1, 1, 1, 2])
_ALL = 200
"""More steps than anything takes."""


class Interleavings(RuleBasedStateMachine):
    """``engine`` is SQLite in memory; ``exact`` the class of the exact layer."""

    engine: Engine
    settings: Settings
    state: Server
    entries: Server
    gate: Gate
    exact: type[ExactCache] = ExactCache
    count: ClassVar[int] = 0
    served: ClassVar[int] = 0
    layers: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.gate.held.clear()
        for server in (self.state, self.entries):
            server.forget()
        self.loop = asyncio.new_event_loop()
        self.world = World(self.engine, self.settings, self.gate, self.state, self.entries, self.exact)
        self.loop.set_default_executor(HeldThreads(self.gate, self.world.look_at_sql))
        self.tasks: list[asyncio.Task[None]] = []

    def teardown(self) -> None:
        self.tasks.clear()
        while tasks := asyncio.all_tasks(self.loop):  # some clean up behind themselves, and wait again
            for task in tasks:
                task.cancel()
            self._run_until_all_wait()
        self.loop.close()
        kind = type(self)
        kind.served += self.world.served
        kind.layers |= self.world.layers
        kind.count += bool(self.world.served)

    @initialize(documents=st.sets(ids, min_size=1))
    def documents_are_there(self, documents: set[str]) -> None:
        for id in sorted(documents):
            self._begin(self.world.put(0, id))
        self.go_on_to_the_end()

    @rule(worker=workers, stream=st.booleans(), question=questions)
    def ask(self, worker: int, stream: bool, question: int) -> None:
        self._begin(self.world.ask(worker, stream=stream, question=question))

    @rule(worker=workers, question=questions, steps=st.one_of(st.just(_ALL), st.integers(0, 14)))
    def ask_on_its_own(self, worker: int, question: int, steps: int) -> None:
        """While all else stands still where it is; then it stands still itself, at any of its awaits."""
        self._on_its_own(self.world.ask(worker, stream=False, question=question), steps)

    @rule(worker=workers, id=ids)
    def put(self, worker: int, id: str) -> None:
        self._begin(self.world.put(worker, id))

    @rule(worker=workers, id=ids, steps=st.one_of(st.just(_ALL), st.integers(0, 8)))
    def put_on_its_own(self, worker: int, id: str, steps: int) -> None:
        self._on_its_own(self.world.put(worker, id), steps)

    @rule(worker=workers, steps=st.integers(0, 14), what=st.sampled_from(["put", "delete", "cut"]))
    def a_change_while_a_call_stands_still(self, worker: int, steps: int, what: str) -> None:
        """Somewhere on its way; then it goes on, and is asked again."""
        self._on_its_own(self.world.ask(worker, stream=False, question=1), steps)
        other = 1 - worker
        changes = {"put": self.world.put, "delete": self.world.delete, "cut": self.world.cut}
        self._on_its_own(changes[what](other, "tag" if what == "cut" else "a"), _ALL)
        self.go_on_to_the_end()
        self._on_its_own(self.world.ask(other, stream=False, question=1), _ALL)

    @rule(worker=workers, id=ids)
    def delete(self, worker: int, id: str) -> None:
        self._begin(self.world.delete(worker, id))

    @rule(worker=workers, what=st.sampled_from(["tenant", "prompt", "version", "tag"]))
    def cut(self, worker: int, what: str) -> None:
        self._begin(self.world.cut(worker, what))

    @rule(position=st.integers(0, 7), heard=st.booleans(), times=st.sampled_from([1, 1, 2, 5]))
    def go_on(self, position: int, heard: bool, times: int) -> None:
        for _ in range(times):
            if self.gate.held:
                self._go_on(self.gate.held[position % len(self.gate.held)], heard=heard)

    @rule()
    def go_on_to_the_end(self) -> None:
        for _ in range(1_000):
            if not self.gate.held:
                return
            self._go_on(self.gate.held[0], heard=True)
        raise AssertionError("it never ends")

    @rule(position=st.integers(0, 3))
    def a_caller_leaves(self, position: int) -> None:
        if self.tasks:
            self.tasks.pop(position % len(self.tasks)).cancel()
            self._run_until_all_wait()

    @rule(seconds=st.sampled_from([1.0, 5.0, 31.0, 95.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(trouble=st.sampled_from(["evict", "state to disk", "state crashes", "state emptied", "cache crashes"]))
    def trouble(self, trouble: str) -> None:
        match trouble:
            case "evict":
                self.entries.empty()
            case "state to disk":
                self.state.flush_to_disk()
            case "state crashes":
                self.state.crash()
            case "state emptied":
                self.state.empty()
            case _:
                self.entries.crash()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(self.loop.create_task(work))
        self._run_until_all_wait()

    def _on_its_own(self, work: Coroutine[Any, Any, None], steps: int) -> None:
        others = set(map(id, self.gate.held))
        self._begin(work)
        for _ in range(steps):
            new = next((one for one in self.gate.held if id(one) not in others), None)
            if new is None:
                return
            self._go_on(new, heard=True)

    def _go_on(self, held: Any, *, heard: bool) -> None:
        held.take_effect()
        if heard:
            self.gate.held.remove(held)
            held.answer()
            self._run_until_all_wait()

    def _run_until_all_wait(self) -> None:
        """Raises what a reader found."""
        ready = self.loop._ready  # type: ignore[attr-defined]
        while ready:
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled():
                task.result()


class KeptUnderTheEpochOfTheWrite(ExactCache):
    """Without the check at the write: what is kept does not carry the epoch that its call began under."""

    async def prepare(self, call: Call, reply: Reply, kept_on: Candidate | None = None) -> Prepared | str:
        now = await self._epochs.current(call.tenant, call.collection)
        return await super().prepare(structs.replace(call, epoch=now), reply, kept_on)


class EpochNotLookedAt(ExactCache):
    """Without the check at the read."""

    def judge(self, call: Call, key: str, stored: bytes | None, epoch: str, cuts: str) -> Lookup:
        entry = decode(stored) if stored else None
        return super().judge(call, key, stored, entry.epoch if entry else epoch, cuts)


class CutsNotLookedAt(ExactCache):
    def judge(self, call: Call, key: str, stored: bytes | None, epoch: str, cuts: str) -> Lookup:
        entry = decode(stored) if stored else None
        return super().judge(call, key, stored, epoch, entry.cuts if entry else cuts)


def hold_at_each_await(machine: type[Interleavings], *, most: int = 30) -> int:
    """A call stands still at one of its awaits, a document changes meanwhile, the call goes on, and it is asked again.

    Returns at how many places it stood. Raises what a reader found.
    """
    for steps in range(most):
        one = machine()
        one.documents_are_there({"a"})
        others = len(one.gate.held)
        one.ask_on_its_own(0, 1, steps)
        under_way = len(one.gate.held) > others
        one.put_on_its_own(1, "a", _ALL)
        one.go_on_to_the_end()
        for worker in (0, 1, 0):
            one.ask_on_its_own(worker, 1, _ALL)
        one.teardown()
        if not under_way:
            return steps
    raise AssertionError("the call never ends")


def explore(machine: type[Interleavings], examples: int, *, steps: int = 40, drawn: bool = False) -> None:
    """Up to ``examples`` interleavings of up to ``steps`` steps, the same ones each time unless they are ``drawn``.

    Raises what a reader found.
    """
    exploration = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not drawn,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    run_state_machine_as_test(machine, settings=exploration)
