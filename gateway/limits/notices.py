"""Telling people that a limit is near its end: once for each occasion, and never in a call's way."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from gateway.clock import Clock
from gateway.limits.metrics import LimitMetrics
from gateway.limits.ports import AnnounceOnce

EVENT = "promptyard.limit.reached"
NEAR = "near"
REACHED = "reached"
RATE_PERIOD = 600.0
"""Seconds after which a rate limit that is still reached is told again; a budget is told once a day."""

_LONGEST_RESOURCE = 400
_MOST_REMEMBERED = 4096
_MOST_PENDING = 32
_AGAIN_AFTER = 10.0

_log = logging.getLogger(__name__)


class Notice(Struct, frozen=True):
    """``used`` of ``limit`` (numbers as text), in ``unit``; ``period`` names the day or the minutes it holds for."""

    kind: str
    """key_requests, key_tokens, key_budget, prompt_budget, mirror_budget, model_requests, model_tokens."""
    tenant: str
    """Empty for the limits of a provider's model."""
    name: str
    level: str
    used: str
    limit: str
    unit: str
    period: str

    @property
    def occasion(self) -> tuple[str, ...]:
        return occasion(self.kind, self.tenant, self.name, self.period, self.level)

    @property
    def resource(self) -> str:
        parts = (self.tenant, self.kind, self.name)
        resource = "promptyard.limit." + ".".join(quote(part, safe="") for part in parts if part)
        return resource[:_LONGEST_RESOURCE]

    @property
    def payload(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}


def occasion(kind: str, tenant: str, name: str, period: str, level: str) -> tuple[str, ...]:
    """What is told once; ``period`` is a day (2026-11-21) for budgets."""
    return (kind, tenant, name, period, level)


class Notices:
    """Safe to share within one event loop. ``announce`` None: only counted and logged."""

    def __init__(self, announce: AnnounceOnce | None, metrics: LimitMetrics, clock: Clock, threads: Executor) -> None:
        self._announce = announce
        self._metrics = metrics
        self._clock = clock
        self._threads = threads
        self._quiet_until: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._pending: set[asyncio.Future[bool]] = set()

    def tell(self, notice: Notice) -> None:
        """Returns at once and never raises; the event is written behind it. SQL that is down is tried again later."""
        occasion = notice.occasion
        now = self._clock.monotonic()
        quiet_until = self._quiet_until.get(occasion)
        if quiet_until is not None and now < quiet_until:
            return
        if quiet_until is None:
            self._metrics.reached(notice.kind, notice.level)
            _log.warning("%s is %s: %s of %s %s", notice.resource, notice.level, notice.used, notice.limit, notice.unit)
        self._quiet_until[occasion] = math.inf
        if len(self._quiet_until) > _MOST_REMEMBERED:
            self._quiet_until.popitem(last=False)
        if self._announce is None:
            return
        if len(self._pending) >= _MOST_PENDING:
            self._quiet_until[occasion] = now + _AGAIN_AFTER
            return
        writing = asyncio.get_running_loop().run_in_executor(
            self._threads, self._announce, EVENT, notice.resource, notice.payload, occasion
        )
        self._pending.add(writing)
        writing.add_done_callback(lambda done: self._written(occasion, done))

    async def written(self) -> None:
        """Waits for the events that are on their way."""
        if self._pending:
            await asyncio.wait(self._pending)

    def _written(self, occasion: tuple[str, ...], done: "asyncio.Future[bool]") -> None:
        self._pending.discard(done)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.warning("an event about a limit could not be written yet: %s", type(error).__name__)
            self._quiet_until[occasion] = self._clock.monotonic() + _AGAIN_AFTER
