"""Writes that must happen whether or not anybody still waits for them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.idempotency.policy import IdempotencyPolicy, pause_after

T = TypeVar("T")

log = logging.getLogger(__name__)


class Insistence:
    """Tasks that no caller's cancellation reaches, and writes that are tried until SQL takes them; both bounded."""

    def __init__(
        self, policy: IdempotencyPolicy, clock: Clock, sleep: Callable[[float], Awaitable[None]], entropy: random.Random
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._entropy = entropy
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._ended)
        return task

    async def write(self, work: Callable[[], T], missed: Callable[[], bool]) -> T | None:
        """What ``work`` returns, tried with pauses while SQL is away.

        ``missed`` hears of every try that failed, and says whether to go on. None after it said no, when the policy's
        patience has ended, or for a defect: all three are logged.
        """
        until = self._clock.monotonic() + self._policy.store_patience
        tries = 0
        while True:
            try:
                return await asyncio.to_thread(work)
            except StorageUnavailable as error:
                if not missed() or self._clock.monotonic() >= until:
                    log.error("the end of a call with an Idempotency-Key was not stored: %s", error.message)
                    return None
            except Exception as error:
                log.error("the end of a call with an Idempotency-Key was not stored: %s", type(error).__name__)
                return None
            await self._sleep(pause_after(tries, self._policy, self._entropy))
            tries += 1

    async def settle(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for everything under way, then give up what is left."""
        try:
            async with asyncio.timeout(patience):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            log.error("%d writes about Idempotency-Keys were given up", len(self._tasks))
            for task in self._tasks:
                task.cancel()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even if everybody has left
