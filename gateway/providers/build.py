"""The provider chain that the settings describe."""

import random
from collections.abc import Callable, Mapping

from gateway.clock import Clock
from gateway.providers.base import Provider
from gateway.providers.breaker import Breaking
from gateway.providers.fallback import FallbackChain
from gateway.providers.retry import RetryBudget, Retrying
from gateway.settings import ChainSettings, ProviderSettings, Settings


def _openai(name: str, settings: ProviderSettings, chain: ChainSettings, clock: Clock) -> Provider:
    from gateway.providers.openai import openai_provider

    return openai_provider(name, settings, chain, clock)


def _anthropic(name: str, settings: ProviderSettings, chain: ChainSettings, clock: Clock) -> Provider:
    from gateway.providers.anthropic import anthropic_provider

    return anthropic_provider(name, settings, chain, clock)


# The SDKs take seconds to import: who builds a chain pays for those that it names, who imports the gateway does not.
_PROTOCOLS: Mapping[str, Callable[[str, ProviderSettings, ChainSettings, Clock], Provider]] = {
    "openai": _openai,
    "anthropic": _anthropic,
}


def build_chain(settings: Settings, clock: Clock, entropy: random.Random) -> FallbackChain:
    """Every configured provider behind its breaker and its retries; all share one retry budget. Does no I/O.

    The breaker stands inside the retries: each try counts, and a breaker that opens ends them.
    """
    chain = settings.chain
    budget = RetryBudget(chain.retry_budget_ratio)
    providers: dict[str, Provider] = {}
    for name, provider in settings.provider_settings().items():
        wire = _PROTOCOLS[provider.protocol](name, provider, chain, clock)
        breaking = Breaking(wire, failures=chain.breaker_failures, cooldown=chain.breaker_cooldown, clock=clock)
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
