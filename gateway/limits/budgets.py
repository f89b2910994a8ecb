"""Money: reserved before a call, settled after it. With the state Redis down, by the ledger and a fixed allowance."""

from collections import OrderedDict
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct

from gateway.clock import Clock
from gateway.errors import BudgetExhausted
from gateway.limits.accounts import Accounts, State, name_of, state
from gateway.limits.ledger_spend import LedgerSpend, Scope
from gateway.limits.memory import Memory
from gateway.limits.metrics import LimitMetrics
from gateway.limits.notices import NEAR, REACHED, Notice, Notices
from gateway.limits.refusal import Refusal
from gateway.storage.redis_store import REDIS_TROUBLE

RESERVED_PAUSE = 2.0
"""Seconds to wait for money that is only reserved: most calls end sooner than their reservations expire."""
OUTAGE_PAUSE = 5.0
_MOST_REMEMBERED = 4096


class Budget(Struct, frozen=True):
    """A scope's day and its limit in nanodollars."""

    scope: Scope
    limit: int

    @property
    def account(self) -> str:
        scope = self.scope
        return name_of(scope.kind, scope.tenant, scope.name, scope.day.isoformat())

    @property
    def kind(self) -> str:
        return f"{self.scope.kind}_budget"


class Hold(Struct):
    """Money of one budget kept for one call; ``local``: only this worker knows of it."""

    budget: Budget
    memory: Memory
    id: str
    amount: int
    lifetime: float
    local: bool = False


class Budgets:
    """Safe to share within one event loop. ``allowance`` (nanodollars) is a worker's own for each budget and outage."""

    def __init__(
        self,
        accounts: Accounts,
        ledger: LedgerSpend,
        notices: Notices,
        metrics: LimitMetrics,
        *,
        clock: Clock,
        ids: Iterator[str],
        allowance: int,
        warn_at: float,
    ) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._notices = notices
        self._metrics = metrics
        self._clock = clock
        self._ids = ids
        self._allowance = allowance
        self._warn_at = warn_at
        self._memories: OrderedDict[Scope, Memory] = OrderedDict()

    def start(self, budget: Budget, amount: int, lifetime: float) -> tuple[Hold, Awaitable[Any]]:
        """Ask for ``amount`` nanodollars; already under way, and in force once ``finish`` has said so."""
        hold = Hold(budget, self._memory(budget.scope), next(self._ids), amount, lifetime)
        return hold, self._reserve(hold)

    async def finish(self, hold: Hold, started: Awaitable[Any]) -> Refusal | None:
        """None when the money is kept. Never raises because of Redis or SQL."""
        scope, memory = hold.budget.scope, hold.memory
        try:
            answer = state(await started)
            if not answer.known and await self._ledger.know(scope, memory):
                answer = state(await self._reserve(hold))
        except REDIS_TROUBLE:
            return await self._without_redis(hold)
        if not answer.known:  # Redis is empty and SQL is down
            return await self._without_redis(hold)
        memory.redis_said(answer.spent)
        self._ledger.refresh(scope, memory, urgent=memory.unbooked > 0)
        return None if answer.done else self._refused(hold, answer)

    def start_settling(self, hold: Hold, spent: int) -> Awaitable[Any] | None:
        """End the hold and book ``spent`` nanodollars; under way, and to be given to ``finish_settling``. Only once."""
        if hold.local:
            hold.memory.let_go(hold.amount)
            return None
        return self._accounts.settle(
            hold.budget.account, hold=hold.id, amount=hold.amount, spent=spent, floor=hold.memory.floor
        )

    async def finish_settling(self, hold: Hold, spent: int, started: Awaitable[Any] | None) -> None:
        """Never raises because of Redis: what it could not be told is remembered here until the ledger has it."""
        memory = hold.memory
        booked = False
        if started is not None:
            try:
                answer = state(await started)
            except REDIS_TROUBLE:
                self._metrics.unguarded(hold.budget.kind)
            else:
                booked = answer.known
                if booked:
                    memory.redis_said(answer.spent)
        if not booked and spent:
            memory.spend(spent, self._clock.monotonic())
        if memory.spent >= self._warn_at * hold.budget.limit and spent:
            self._tell(hold.budget, NEAR, memory.spent)

    def _reserve(self, hold: Hold) -> Awaitable[Any]:
        memory = hold.memory
        return self._accounts.reserve(
            hold.budget.account,
            limit=hold.budget.limit - memory.unbooked,
            hold=hold.id,
            amount=hold.amount,
            lifetime=hold.lifetime,
            floor=memory.floor,
        )

    async def _without_redis(self, hold: Hold) -> Refusal | None:
        budget, memory = hold.budget, hold.memory
        memory.redis_is_silent()
        self._metrics.unguarded(budget.kind)
        self._ledger.refresh(budget.scope, memory, urgent=True)
        await self._ledger.know(budget.scope, memory)
        hold.local = memory.hold(hold.amount, limit=budget.limit, allowance=min(self._allowance, budget.limit))
        if hold.local:
            return None
        self._metrics.refused(budget.kind)
        if (memory.floor or 0) + hold.amount > budget.limit:
            return self._exhausted(budget, memory.floor or 0, hold.amount)
        error = BudgetExhausted(
            f"the daily budget of {_owner(budget)} cannot be checked, and what may be spent meanwhile is used up",
            hint="The state Redis is down: see /readyz. PROMPTYARD_LIMITS__BUDGET_ALLOWANCE_USD is the allowance.",
            retry_after=OUTAGE_PAUSE,
        )
        return Refusal(OUTAGE_PAUSE, error)

    def _refused(self, hold: Hold, answer: State) -> Refusal:
        budget = hold.budget
        self._metrics.refused(budget.kind)
        if answer.spent + hold.memory.unbooked + hold.amount > budget.limit:
            return self._exhausted(budget, answer.spent, hold.amount)
        wait = min(answer.wait, RESERVED_PAUSE) if answer.wait else RESERVED_PAUSE
        error = BudgetExhausted(
            f"what is left of the daily budget of {_owner(budget)} is reserved for calls that are on their way",
            hint="Wait for Retry-After seconds: most calls cost less than what is reserved for them.",
            retry_after=wait,
        )
        return Refusal(wait, error)

    def _exhausted(self, budget: Budget, spent: int, amount: int) -> Refusal:
        self._tell(budget, REACHED, spent)
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
        wait = (midnight - now).total_seconds()
        error = BudgetExhausted(
            f"the daily budget of {_owner(budget)} has no room for this call: {_usd(spent)} of {_usd(budget.limit)} "
            f"USD are spent and it may cost up to {_usd(amount)}",
            hint="Ask for less (max_tokens), raise the budget, or wait until it renews at midnight UTC.",
            retry_after=wait,
        )
        return Refusal(wait, error)

    def _tell(self, budget: Budget, level: str, spent: int) -> None:
        scope = budget.scope
        used, limit = _usd(spent), _usd(budget.limit)
        self._notices.tell(
            Notice(budget.kind, scope.tenant, scope.name, level, used, limit, "USD a day", scope.day.isoformat())
        )

    def _memory(self, scope: Scope) -> Memory:
        memory = self._memories.get(scope)
        if memory is None:
            memory = self._memories[scope] = Memory()
            if len(self._memories) > _MOST_REMEMBERED:
                self._memories.popitem(last=False)
        else:
            self._memories.move_to_end(scope)
        return memory


def _owner(budget: Budget) -> str:
    kind, name = budget.scope.kind, budget.scope.name
    return "this key" if kind == "key" else f"the mirror of {name!r}" if kind == "mirror" else f"prompt {name!r}"


def _usd(nanodollars: int) -> str:
    return f"{Decimal(nanodollars) / 1_000_000_000:.4f}"
