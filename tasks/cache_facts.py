"""What advice about the cache goes by, from the ledger alone: volume, diversity, freshness, prices, memory."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import NotFound
from gateway.ledger.cache_reports import LayerCount, Volume, layer_history, repetition, volumes
from gateway.pricing import price
from gateway.settings import Settings
from gateway.types import CachePolicy, Layer, PromptVersion, SemanticMode, Usage
from tasks.cache_advice import DAY, PromptFacts, growth
from tasks.cache_history import incidents, memory_points
from tasks.registration import engine_of
from tasks.releases import store
from tasks.step import step

SLICES = 8
"""Of the window, in which traffic is counted to see it grow."""


@step("facts about the cache")
def prompt_facts(settings: Settings, clock: Clock, tenant: str, prompt: str, since: float) -> list[PromptFacts]:
    """Of each prompt that live calls met since then, or of the one that is named, the busiest first.

    Raises StorageUnavailable, and NotFound for a named prompt that nobody called.
    """
    engine, now = engine_of(settings), clock.now()
    found = volumes(engine, since, now, tenant=tenant, prompt=prompt or None)
    if prompt and not found:
        raise NotFound(
            f"no live call of {prompt!r} since then", hint="Look further back with --since, or at another --tenant."
        )
    points = memory_points(engine, since, now)
    shared: dict[str, Any] = {
        "workers": settings.workers,
        "memory_growth": growth([point.used for point in points]),
        "incidents": incidents(engine, since, now).found,
    }
    return [_facts(engine, tenant, one, since, now, shared) for one in found]


def _facts(
    engine: Engine, tenant: str, volume: Volume, since: float, now: float, shared: dict[str, Any]
) -> PromptFacts:
    repeated = repetition(engine, since, now, tenant=tenant, prompt=volume.prompt)
    history = layer_history(engine, since, now, SLICES, tenant=tenant, prompt=volume.prompt)
    answers = max(1, sum(one.calls for one in history))
    version = _serving(engine, tenant, volume.prompt)
    policy = version.cache if version else CachePolicy()
    cheaper, cheaper_per_call = cheapest_other(version, volume, now) if version else ("", None)
    known_from = max(since, volume.first_at)
    serves = policy.semantic.mode is SemanticMode.ON
    return PromptFacts(
        prompt=volume.prompt,
        days=max(now - known_from, 60.0) / DAY,
        calls=volume.calls,
        looked_at=repeated.calls,
        questions=repeated.questions,
        head=repeated.head,
        with_user=volume.with_user / volume.calls,
        streamed=volume.streamed / volume.calls,
        ttl=policy.ttl,
        answer_life=repeated.observed / repeated.changes if repeated.changes else None,
        personal=version.personal if version else False,
        cached=policy.exact,
        age=now - volume.first_at,
        hit_rate=sum(one.calls for one in history if one.layer != Layer.NONE) / answers,
        semantic_share=_calls(history, Layer.SEMANTIC) / answers if serves else None,
        saved_usd=float(sum(one.saved_usd for one in history)),
        cost_per_call=volume.cost_per_call,
        input_tokens=volume.input_tokens,
        output_tokens=volume.output_tokens,
        cheaper=cheaper,
        cheaper_per_call=cheaper_per_call,
        traffic_growth=growth(_by_slice(history)),
        **shared,
    )


def cheapest_other(version: PromptVersion, volume: Volume, now: float) -> tuple[str, float | None]:
    """The cheapest later link of the chain that would cost less for the same tokens, and its US dollars a call."""
    usage = Usage(
        input_tokens=round(volume.input_tokens),
        output_tokens=round(volume.output_tokens),
        cached_input_tokens=min(round(volume.provider_cached_tokens), round(volume.input_tokens)),
    )
    priced = [(str(ref), price(ref.provider, ref.model, usage, now).usd) for ref in version.chain[1:]]
    known = [(float(usd), name) for name, usd in priced if usd is not None]
    if not known or volume.cost_per_call is None:
        return "", None
    usd, name = min(known)
    return (name, usd) if usd < volume.cost_per_call else ("", None)


def _serving(engine: Engine, tenant: str, prompt: str) -> PromptVersion | None:
    try:
        name = store.get_prompt(engine, tenant, prompt).production
        bundle = store.get_version(engine, tenant, prompt, name).bundle
    except NotFound:
        return None
    return msgspec.convert(bundle, PromptVersion)


def _calls(history: Sequence[LayerCount], layer: Layer) -> int:
    return sum(one.calls for one in history if one.layer == layer)


def _by_slice(history: Sequence[LayerCount]) -> list[float]:
    found = [0.0] * SLICES
    for one in history:
        found[one.bucket] += one.calls
    return found
