"""What the semantic layer does beside the calls, bounded: learning, pairing, and answering anew what it has served."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from msgspec import structs

from gateway.clock import Clock, new_id
from gateway.types import NO_LIMITS, CacheMode, Call, Origin, SemanticPair

MOST_TASKS = 256
MOST_PROBES = 4
"""Calls that are answered anew at the same time; what would be more is left out of the sample."""

AnswerAnew = Callable[[Call], Awaitable[Any]]

_log = logging.getLogger(__name__)


class Probes:
    """For one event loop. ``answer`` is the request path, set once that is laid; without it nothing is probed."""

    def __init__(self, clock: Clock) -> None:
        self.answer: AnswerAnew | None = None
        self._clock = clock
        self._waiting: dict[str, SemanticPair] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the calls, or not at all while too much is under way."""
        if len(self._tasks) >= MOST_TASKS:
            work.close()
            return
        task = asyncio.create_task(_quiet(work), name="semantic layer")
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    def ask(self, call: Call, pair: SemanticPair) -> None:
        """Answer a call anew, at nobody's key's expense; ``answered`` gives the pair back when the answer is there."""
        if self.answer is None or len(self._waiting) >= MOST_PROBES:
            return
        probe = structs.replace(
            call,
            id=new_id("call", self._clock),
            received_at=self._clock.now(),
            origin=Origin.PROBE,
            cache=CacheMode.REFRESH,
            key_id="",
            limits=NO_LIMITS,
            user="",
            stream=False,
            rendered=(),
            passages=(),
            context="",
            epoch="",
            cuts="",
        )
        self._waiting[probe.id] = structs.replace(pair, id=probe.id)
        self.begin(self._ask(probe, self.answer))

    def answered(self, call_id: str) -> SemanticPair | None:
        """The pair that waits for this call, once."""
        return self._waiting.pop(call_id, None)

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await self.settle()

    async def settle(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _ask(self, probe: Call, answer: AnswerAnew) -> None:
        try:
            await answer(probe)
        finally:
            self._waiting.pop(probe.id, None)


async def _quiet(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as trouble:  # nobody waits for it: the next call does it again
        _log.info("left undone by the semantic layer: %s", type(trouble).__name__)
