"""Puts this room together."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

from prometheus_client import CollectorRegistry

from gateway.clock import Clock
from gateway.limits.accounts import Accounts
from gateway.limits.buckets import Buckets
from gateway.limits.budgets import Budgets
from gateway.limits.estimate import Price, nanodollars
from gateway.limits.key_rates import KeyRates
from gateway.limits.ledger_spend import LedgerSpend
from gateway.limits.limits import Limits
from gateway.limits.metrics import LimitMetrics
from gateway.limits.model_limits import ModelGate
from gateway.limits.money import Money
from gateway.limits.notices import Notices
from gateway.limits.ports import AnnounceOnce, Scripts, SpentOn
from gateway.limits.rate_notices import RateNotices
from gateway.limits.waiting import Sleep, WaitingRoom
from gateway.settings import Settings


@dataclass
class LimitRoom:
    """``limits`` is for the pipeline, ``models`` for the provider chain; ``aclose`` after the last call."""

    limits: Limits
    models: ModelGate
    notices: Notices
    _ledger: LedgerSpend
    _threads: ThreadPoolExecutor

    async def aclose(self) -> None:
        await self._ledger.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)


def build_limits(
    settings: Settings,
    scripts: Scripts,
    *,
    price: Price,
    spent_on: SpentOn,
    announce: AnnounceOnce | None,
    registry: CollectorRegistry,
    clock: Clock,
    now: Callable[[], float] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> LimitRoom:
    """``now`` replaces Redis' own time, for tests. Opens no connection and starts no thread yet."""
    chosen = settings.limits
    threads = ThreadPoolExecutor(2, thread_name_prefix="limits")  # a hung SQL must not take everybody's
    metrics = LimitMetrics(registry)
    notices = Notices(announce, metrics, clock, threads)
    told = RateNotices(notices, clock, chosen.warn_at)
    buckets = Buckets(scripts, now)
    ledger = LedgerSpend(spent_on, clock, threads)
    worker = secrets.token_hex(6)
    budgets = Budgets(
        Accounts(scripts, now),
        ledger,
        notices,
        metrics,
        clock=clock,
        ids=(f"{worker}-{number}" for number in itertools.count()),
        allowance=nanodollars(Decimal(str(chosen.budget_allowance_usd))),
        warn_at=chosen.warn_at,
    )
    room = WaitingRoom(longest=chosen.background_wait, most=chosen.background_waiters, clock=clock, sleep=sleep)
    limits = Limits(
        KeyRates(buckets, told, metrics),
        budgets,
        Money(price, chosen, metrics, default_seconds=settings.chain.total_timeout),
        room,
        margin=chosen.reservation_margin,
    )
    models = ModelGate(
        buckets, settings.model_limits, told, metrics, room, assumed_output=chosen.assumed_max_output_tokens
    )
    return LimitRoom(limits, models, notices, ledger, threads)
