"""The limits of API keys and the budgets of keys and prompts, as the pipeline asks for them.

::

    admission = limits.admit(call)                     # under way while the call is looked up in the cache
    await admission
    reservation = await limits.reserve(call)           # only a call that goes to a provider
    try:
        reply = await providers.complete(completion)
    except BaseException:
        await limits.release(reservation)
        raise
    await limits.settle(reservation, reply.usage, cost.usd)   # before the ledger hears of it: see accounts.py
"""

from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from gateway.errors import RateLimited
from gateway.limits.budgets import Budget, Budgets, Hold
from gateway.limits.estimate import nanodollars
from gateway.limits.key_rates import KeyRates, Tokens
from gateway.limits.ledger_spend import KEY, MIRROR, PROMPT, Scope
from gateway.limits.money import Money
from gateway.limits.ports import abandon
from gateway.limits.refusal import Refusal
from gateway.limits.waiting import SHORTEST_PAUSE, WaitingRoom
from gateway.types import Call, Origin, Usage


class Reservation(Struct):
    """Tokens and money kept for one call until it is settled or released, or expires. Empty if nothing is limited."""

    tokens: Tokens | None = None
    holds: list[Hold] = field(default_factory=list)
    open: bool = True


class _Asked(Struct, frozen=True):
    call: Call
    tokens: int
    budgets: tuple[Budget, ...]
    amount: int
    lifetime: float

    @property
    def line(self) -> str:
        return f"reserve/{self.call.tenant}/{self.call.key_id}/{self.call.prompt}"


class Limits:
    """Safe to share between all calls of one event loop. Live calls are refused, background calls wait their turn.

    Mirrored calls have a budget of their own, beside the prompt's, and are refused at once: what they spend is never
    missing where a user's call is checked.
    """

    def __init__(self, rates: KeyRates, budgets: Budgets, money: Money, room: WaitingRoom, *, margin: float) -> None:
        """``margin`` (seconds): how long a reservation outlives its call's longest time."""
        self._rates = rates
        self._budgets = budgets
        self._money = money
        self._room = room
        self._margin = margin

    def admit(self, call: Call) -> Awaitable[None]:
        """Count one request of the key. Already under way when it returns; await the result once.

        Asks nobody when the key has no limit. Awaiting raises RateLimited with ``retry_after``: at once for live calls,
        for others when they have waited in vain.
        """
        limit = call.limits.requests_per_minute
        if limit is None:
            return ADMITTED
        if call.origin is not Origin.LIVE and self._room.has_line(_line(call)):
            return _Admission(lambda: self._admit(call, limit, None))
        started = self._rates.start_request(call, limit)
        return _Admission(lambda: self._admit(call, limit, started))

    async def reserve(self, call: Call, *, lifetime: float | None = None) -> Reservation:
        """Keep tokens and money for one trip to the providers; ``lifetime`` (seconds) is the call's longest time.

        Asks nobody when nothing is limited. Raises RateLimited and BudgetExhausted with ``retry_after``, as ``admit``.
        """
        asked = self._asked(call, lifetime)
        if asked is None:
            return Reservation()
        outcome: Reservation | Refusal | None = None

        async def attempt() -> float:
            nonlocal outcome
            outcome = await self._try(asked)
            return outcome.wait if isinstance(outcome, Refusal) else 0.0

        background = call.origin not in (Origin.LIVE, Origin.MIRROR)
        wait = SHORTEST_PAUSE if background and self._room.has_line(asked.line) else await attempt()
        if wait > 0.0 and background:
            wait = await self._room.wait(asked.line, attempt, wait)
        if isinstance(outcome, Reservation):
            return outcome
        raise outcome.error if outcome else RateLimited("too many background calls wait", retry_after=wait)

    async def settle(self, reservation: Reservation, usage: Usage, usd: Decimal | None) -> None:
        """Replace what was reserved by what was used. A second time changes nothing; never raises because of Redis.

        ``usd`` None is an unknown price: an assumed one counts. Also after the reservation has expired.
        """
        if not reservation.open:
            return
        cost = self._money.settled(usage, usd) if reservation.holds else 0
        await self._end(reservation, usage.input_tokens + usage.output_tokens, cost)

    async def release(self, reservation: Reservation) -> None:
        """The call never reached a provider: give everything back. A second time changes nothing."""
        if reservation.open:
            await self._end(reservation, 0, 0)

    async def _admit(self, call: Call, limit: int, started: Awaitable[Any] | None) -> None:
        refusal: Refusal | None = None

        async def attempt() -> float:
            nonlocal refusal, started
            trip = self._rates.start_request(call, limit) if started is None else started
            started = None
            refusal = await self._rates.finish_request(call, limit, trip)
            return refusal.wait if refusal else 0.0

        wait = await attempt() if started is not None else SHORTEST_PAUSE
        if wait > 0.0 and call.origin is not Origin.LIVE:
            wait = await self._room.wait(_line(call), attempt, wait)
        if wait > 0.0:
            raise refusal.error if refusal else RateLimited("too many background calls wait", retry_after=wait)

    def _asked(self, call: Call, lifetime: float | None) -> _Asked | None:
        budgets = _budgets(call)
        limit = call.limits.tokens_per_minute
        if limit is None and not budgets:
            return None
        if lifetime is None:
            lifetime = call.version.total_timeout if call.version else self._money.default_seconds
        return _Asked(
            call=call,
            tokens=self._money.tokens(call) if limit is not None else 0,
            budgets=budgets,
            amount=self._money.bound(call) if budgets else 0,
            lifetime=lifetime + self._margin,
        )

    async def _try(self, asked: _Asked) -> Reservation | Refusal:
        """All of it or nothing. One trip: everything is under way before anything is awaited."""
        reservation = Reservation()
        refusals: list[Refusal] = []
        limit = asked.call.limits.tokens_per_minute
        estimate = None if limit is None else self._rates.start_tokens(asked.call, limit, asked.tokens)
        started = [self._budgets.start(budget, asked.amount, asked.lifetime) for budget in asked.budgets]
        try:
            if estimate is not None:
                refusal = await self._rates.finish_tokens(*estimate)
                if refusal is None:
                    reservation.tokens = estimate[0]
                else:
                    refusals.append(refusal)
            for hold, trip in started:
                refusal = await self._budgets.finish(hold, trip)
                if refusal is None:
                    reservation.holds.append(hold)
                else:
                    refusals.append(refusal)
        except BaseException:  # cancelled half-way: nobody will settle what was started
            if estimate is not None:
                abandon(estimate[1])
            for hold, trip in started:
                abandon(trip)
                if (settling := self._budgets.start_settling(hold, 0)) is not None:
                    abandon(settling)
            raise
        if not refusals:
            return reservation
        await self._end(reservation, 0, 0)
        return max(refusals, key=lambda one: one.wait)

    async def _end(self, reservation: Reservation, tokens: int, cost: int) -> None:
        reservation.open = False
        if reservation.tokens:
            self._rates.correct(reservation.tokens, tokens)
        # Money is booked before the ledger hears of it: see accounts.py.
        settling = [(hold, self._budgets.start_settling(hold, cost)) for hold in reservation.holds]
        for hold, trip in settling:
            await self._budgets.finish_settling(hold, cost, trip)


class _Admission:
    """Awaited once. No task: the trip is under way by itself."""

    __slots__ = ("_finish",)

    def __init__(self, finish: Callable[[], Awaitable[None]]) -> None:
        self._finish = finish

    def __await__(self) -> Generator[Any, None, None]:
        return self._finish().__await__()


class _Admitted:
    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]


ADMITTED = _Admitted()
"""Nothing is limited; may be awaited any number of times."""


def _line(call: Call) -> str:
    return f"request/{call.key_id}"


def _budgets(call: Call) -> tuple[Budget, ...]:
    """The day is the one of the call's ledger row, whatever time it is by now."""
    version, own = call.version, call.limits.daily_budget_usd
    of_prompt = version.daily_budget_usd if version is not None else None
    if own is None and of_prompt is None:
        return ()
    day = datetime.fromtimestamp(call.received_at, UTC).date()
    found = []
    if own is not None:
        found.append(Budget(Scope(KEY, call.tenant, call.key_id, day), nanodollars(Decimal(str(own)))))
    if version is not None and of_prompt is not None:
        kind = MIRROR if call.origin is Origin.MIRROR else PROMPT
        found.append(Budget(Scope(kind, call.tenant, version.name, day), nanodollars(Decimal(str(of_prompt)))))
    return tuple(found)
