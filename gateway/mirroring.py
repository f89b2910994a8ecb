"""Sending live calls to a candidate too, in the background: nobody sees its answers, waits for them or pays."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum

from msgspec import structs

from gateway.clock import Clock, new_id
from gateway.errors import BudgetExhausted, ProviderError, RateLimited
from gateway.types import NO_LIMITS, CacheMode, Call, Mirror, Origin

MOST_RUNNING = 4
MOST_WAITING = 32
MOST_RUNNING_EACH = 3
MOST_WAITING_EACH = 24
"""Of one prompt: a candidate that hangs leaves places to the candidates of others."""
TIME_OUT = 75.0
"""Seconds for one call: more than the longest time-out of a prompt, with its documents and tools."""
PAUSE = 30.0
"""Seconds without any at a provider that was overloaded or down, since what is left of it belongs to the users, or of
a prompt whose money for it is spent."""


class Outcome(StrEnum):
    """What became of a live call that was drawn. Anything but the first two leaves no answer to compare."""

    ANSWERED = "answered"
    FAILED = "failed"
    PERSONAL = "personal"
    TOOLS = "tools"
    """The candidate has a tool that does something, or whose result is one caller's own."""
    FULL = "full"
    PAUSED = "paused"
    BUDGET = "budget"
    TIMED_OUT = "timed_out"


def mirrored(live: Call, mirror: Mirror, clock: Clock) -> Call:
    """The same question for the candidate: a call of its own, without the user's key, limits and purse.

    It neither reads nor feeds a cache, and only the first link of the chain is asked: what a fallback says is no
    evidence about a prompt. ``live`` is the call as it came in.
    """
    version = mirror.version
    return structs.replace(
        live,
        id=new_id("call", clock),
        mirrors=live.id,
        origin=Origin.MIRROR,
        received_at=clock.now(),
        key_id="",
        limits=NO_LIMITS,
        version=version,
        chain=version.chain[:1],
        release=mirror.release,
        arm="",
        weight=0,
        evidence=False,
        stream=False,
        cache=CacheMode.BYPASS,
    )


class Mirroring:
    """For one event loop: at most ``most_running`` calls at a time and ``most_waiting`` behind them, of one prompt
    somewhat fewer; what is more is left out. ``begin`` returns at once and never raises.
    """

    def __init__(
        self,
        make: Callable[[Call], Awaitable[None]],
        may_run: Callable[[Call], bool],
        *,
        clock: Clock,
        count: Callable[[str], None] = lambda outcome: None,
        most_running: int = MOST_RUNNING,
        most_waiting: int = MOST_WAITING,
        time_out: float = TIME_OUT,
    ) -> None:
        """``make`` answers a call and records it, and raises what went wrong; ``may_run``: are its tools harmless?"""
        self._make = make
        self._may_run = may_run
        self._clock = clock
        self._count = count
        self._most_running = most_running
        self._most_waiting = most_waiting
        self._time_out = time_out
        self._waiting: deque[Call] = deque()
        self._running: dict[asyncio.Task[None], tuple[str, ...]] = {}
        """With the purse of each."""
        self._paused_until: dict[tuple[str, ...], float] = {}
        """By purse or provider: nobody pauses for what is another's."""

    def begin(self, live: Call, mirror: Mirror) -> bool:
        """Whether the candidate is asked too, now or soon. ``live`` is the call as it came in."""
        if live.personal or mirror.version.personal or live.params.get("personal"):
            return self._left_out(Outcome.PERSONAL)
        call = mirrored(live, mirror, self._clock)
        if self._is_paused(call):
            return self._left_out(Outcome.PAUSED)
        if not self._may_run(call):
            return self._left_out(Outcome.TOOLS)
        if self._may_start(call):
            self._start(call)
        elif self._may_wait(call):
            self._waiting.append(call)
        else:
            return self._left_out(Outcome.FULL)
        return True

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(list(self._running))

    async def stop(self) -> None:
        """Give up what waits and what is under way."""
        self._waiting.clear()
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def __len__(self) -> int:
        """Under way and waiting."""
        return len(self._running) + len(self._waiting)

    def _left_out(self, why: Outcome) -> bool:
        self._count(why)
        return False

    def _may_start(self, call: Call) -> bool:
        of_its_own = sum(purse == _purse(call) for purse in self._running.values())
        return len(self._running) < self._most_running and of_its_own < MOST_RUNNING_EACH

    def _may_wait(self, call: Call) -> bool:
        of_its_own = sum(_purse(one) == _purse(call) for one in self._waiting)
        return len(self._waiting) < self._most_waiting and of_its_own < MOST_WAITING_EACH

    def _start(self, call: Call) -> None:
        task = asyncio.create_task(self._run(call), name="mirror")
        self._running[task] = _purse(call)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        following = next((call for call in self._waiting if self._may_start(call)), None)
        if following is not None:
            self._waiting.remove(following)
            self._start(following)

    async def _run(self, call: Call) -> None:
        self._count(await self._outcome(call))

    async def _outcome(self, call: Call) -> Outcome:
        try:
            async with asyncio.timeout(self._time_out):
                await self._make(call)
        except TimeoutError:
            return Outcome.TIMED_OUT
        except (RateLimited, BudgetExhausted):
            self._pause(_purse(call))
            return Outcome.BUDGET
        except Exception as error:  # who makes it has recorded it
            if isinstance(error, ProviderError) and error.fall_back:
                self._pause(_provider(call))
            return Outcome.FAILED
        return Outcome.ANSWERED

    def _pause(self, source: tuple[str, ...]) -> None:
        now = self._clock.monotonic()
        self._paused_until = {one: until for one, until in self._paused_until.items() if now < until}
        self._paused_until[source] = now + PAUSE
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if self._is_paused(call):
                self._count(Outcome.PAUSED)
            else:
                self._waiting.append(call)

    def _is_paused(self, call: Call) -> bool:
        now = self._clock.monotonic()
        return any(now < self._paused_until.get(source, now) for source in (_purse(call), _provider(call)))


def _purse(call: Call) -> tuple[str, ...]:
    return "purse", call.tenant, call.prompt


def _provider(call: Call) -> tuple[str, ...]:
    return "provider", call.chain[0].provider if call.chain else ""
