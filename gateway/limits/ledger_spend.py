"""The ledger's view of today's spend: read off the event loop, once at a time for each budget, and not too often."""

import asyncio
import logging
from concurrent.futures import Executor
from datetime import date
from decimal import Decimal

from msgspec import Struct

from gateway.clock import Clock
from gateway.limits.estimate import nanodollars
from gateway.limits.memory import Memory
from gateway.limits.ports import SpentOn

FRESH_FOR = 5.0
"""Seconds for which a reading is good while it matters: Redis is down, or has missed a booking."""
RARELY = 60.0
"""Seconds between readings while Redis knows everything."""
EASE = 20.0
"""A look that took long is not repeated before so many times as long, so that a large day never fills the database."""

KEY = "key"
PROMPT = "prompt"
MIRROR = "mirror"

_log = logging.getLogger(__name__)


class Scope(Struct, frozen=True):
    """Whose budget: ``kind`` is ``KEY``, ``PROMPT`` or ``MIRROR``, ``name`` the key's id or the prompt's name."""

    kind: str
    tenant: str
    name: str
    day: date


class LedgerSpend:
    """Keeps memories up to date. Safe to share within one event loop."""

    def __init__(self, read: SpentOn, clock: Clock, threads: Executor, *, timeout: float = 1.0) -> None:
        """``timeout`` (seconds) bounds how long a call waits for it; SQL may take longer by itself."""
        self._read = read
        self._clock = clock
        self._threads = threads
        self._timeout = timeout
        self._reading: dict[Scope, asyncio.Task[None]] = {}

    def refresh(self, scope: Scope, memory: Memory, *, urgent: bool) -> None:
        """Look again soon, unless the last look was just now. Returns at once."""
        pause = max(FRESH_FOR if urgent else RARELY, EASE * memory.ledger_took)
        if scope in self._reading or self._clock.monotonic() - memory.ledger_tried_at < pause:
            return
        memory.ledger_tried_at = self._clock.monotonic()
        task = asyncio.create_task(self._look(scope, memory))
        self._reading[scope] = task
        task.add_done_callback(lambda _: self._reading.pop(scope, None))

    async def know(self, scope: Scope, memory: Memory) -> bool:
        """Whether anything is known of this day, if need be after waiting for a look that has just begun."""
        if memory.floor is None:
            self.refresh(scope, memory, urgent=True)
            reading = self._reading.get(scope)
            left = memory.ledger_tried_at + self._timeout - self._clock.monotonic()
            if reading is not None and left > 0:
                await asyncio.wait([reading], timeout=left)
        return memory.floor is not None

    async def aclose(self) -> None:
        """Nobody waits for a look any more."""
        for task in list(self._reading.values()):
            task.cancel()

    async def _look(self, scope: Scope, memory: Memory) -> None:
        began = self._clock.monotonic()
        try:
            spent = await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, scope)
        except Exception as error:  # whatever is wrong with SQL: nothing new is known
            _log.warning("the ledger did not say what a budget's day has cost so far: %s", type(error).__name__)
            return
        memory.ledger_said(nanodollars(spent), began, self._clock.monotonic() - began)

    def _ask(self, scope: Scope) -> Decimal:
        if scope.kind == KEY:
            return self._read(scope.tenant, scope.day, key_id=scope.name)
        return self._read(scope.tenant, scope.day, prompt=scope.name, mirrored=scope.kind == MIRROR)
