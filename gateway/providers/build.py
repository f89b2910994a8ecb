"""The provider chain that the settings describe."""

import random
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from gateway.clock import Clock
from gateway.providers import vendors
from gateway.providers.base import Provider
from gateway.providers.breaker_board import BreakerBoard
from gateway.providers.breaking import Breaking
from gateway.providers.fallback import FallbackChain
from gateway.providers.limited import Limited, ModelGate
from gateway.providers.retry import RetryBudget, Retrying
from gateway.settings import ChainSettings, ProviderSettings, Settings

Factory = Callable[[str, ProviderSettings, ChainSettings, Clock], Provider]
"""Makes the provider of one configured name, without I/O."""


def factory(protocol: str, among: ModuleType = vendors) -> Factory:
    """``provider`` of the module named after the protocol. Raises ``ValueError`` when there is none."""
    known = sorted(module.name for module in iter_modules(among.__path__))
    if protocol not in known:
        raise ValueError(f"there is no protocol {protocol!r}; there are: {', '.join(known)}")
    made: Factory = import_module(f"{among.__name__}.{protocol}").provider
    return made


def build_chain(
    settings: Settings,
    clock: Clock,
    entropy: random.Random,
    *,
    board: BreakerBoard | None = None,
    gate: ModelGate | None = None,
) -> FallbackChain:
    """Every configured provider behind its limits, its breaker and its retries. Does no I/O.

    All share one retry budget. The breaker stands inside the retries: each try counts, and a breaker that opens ends
    them. The limits stand inside the breaker: a model that is left alone uses up nothing of them.
    """
    chain = settings.chain
    budget = RetryBudget(chain.retry_budget_ratio)
    providers: dict[str, Provider] = {}
    for name, provider in settings.provider_settings().items():
        asked = factory(provider.protocol)(name, provider, chain, clock)
        if gate is not None:
            asked = Limited(asked, gate, clock)
        breaking = Breaking(
            asked, failures=chain.breaker_failures, cooldown=chain.breaker_cooldown, clock=clock, board=board
        )
        providers[name] = Retrying(
            breaking,
            max_attempts=chain.max_attempts_per_link,
            budget=budget,
            clock=clock,
            entropy=entropy,
            base=chain.backoff_base,
            cap=chain.backoff_cap,
        )
    return FallbackChain(providers, clock)
