"""Faults on demand: the rules that the admin endpoint takes, and what they do to one call.

A rule's fields left out do nothing. Of several rules that fit a call, the first that sets a field decides that field.
New kinds of fault are new fields of `FaultRule` and of `Fault`.
"""

import fnmatch
import math
import random
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Provider = Literal["openai", "anthropic"]


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A lognormal distribution through its median and 95th percentile, in milliseconds."""

    p50: float
    p95: float

    def __post_init__(self) -> None:
        if not 0 <= self.p50 <= self.p95 <= 600_000:
            raise ValueError("latency needs 0 <= p50 <= p95 <= 600000 milliseconds")

    def draw(self, rng: random.Random) -> float:
        """One latency in seconds: median x exp(sigma z), where sigma = ln(p95 / p50) / 1.645."""
        if self.p50 <= 0:
            return 0.0
        sigma = math.log(self.p95 / self.p50) / 1.6449
        return min(self.p50 * math.exp(sigma * rng.gauss(0.0, 1.0)), 600_000) / 1000


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which calls a rule is for: a provider (None: all) and a model by shell pattern, e.g. ``gpt-4.1*`` (None: all)."""

    provider: Provider | None = None
    model: str | None = None

    def covers(self, provider: str, model: str) -> bool:
        return self.provider in (None, provider) and (self.model is None or fnmatch.fnmatchcase(model, self.model))


class BatchFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How a batch is worked off: in `processing_ms`; each item is missing from the results, expires, or fails with a
    chance in [0, 1]; `shuffled` gives the results in another order than the requests."""

    processing_ms: float = 0.0
    missing: float = 0.0
    expired: float = 0.0
    failed: float = 0.0
    shuffled: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.processing_ms <= 86_400_000:
            raise ValueError("processing_ms must be between 0 and 86400000")
        if not all(0 <= share <= 1 for share in (self.missing, self.expired, self.failed)):
            raise ValueError("missing, expired and failed must be between 0 and 1")


class FaultRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One rule of ``PUT /admin/faults``.

    latency_ms: time until the answer; a number or {"p50", "p95"}. first_token_ms: the same until a stream's first byte.
    error_rate: chance in [0, 1] of answering `error_status` (400..599). rate_limit_per_minute: calls in a minute's
    window; the next get 429 with Retry-After. outage: the connection is closed without an answer. hang: no answer
    comes until the caller gives up. malformed: half of the body, under a status of 200. cut_after_chunks: a stream's
    connection is closed after so many events. batch: see `BatchFault`.
    """

    scope: Scope = Scope()
    latency_ms: Latency | float | None = None
    first_token_ms: Latency | float | None = None
    error_rate: float = 0.0
    error_status: int = 500
    rate_limit_per_minute: int | None = None
    outage: bool = False
    hang: bool = False
    malformed: bool = False
    cut_after_chunks: int | None = None
    batch: BatchFault | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate <= 1:
            raise ValueError("error_rate must be between 0 and 1")
        if not 400 <= self.error_status <= 599:
            raise ValueError("error_status must be between 400 and 599")
        for value in (self.latency_ms, self.first_token_ms):
            if isinstance(value, (int, float)) and not 0 <= value <= 600_000:
                raise ValueError("a latency must be between 0 and 600000 milliseconds")
        for name, number in (
            ("rate_limit_per_minute", self.rate_limit_per_minute),
            ("cut_after_chunks", self.cut_after_chunks),
        ):
            if number is not None and number < 0:
                raise ValueError(f"{name} must not be negative")


class Fault(msgspec.Struct, frozen=True):
    """What one call meets. Latencies are in seconds; `retry_after` is set when it is over its rate limit."""

    latency: float
    first_token: float | None = None
    status: int | None = None
    retry_after: int | None = None
    outage: bool = False
    hang: bool = False
    malformed: bool = False
    cut_after_chunks: int | None = None
    batch: BatchFault | None = None


DEFAULT_LATENCY = Latency(p50=10.0, p95=25.0)
MAX_RULES = 100


class FaultBoard:
    """Holds the rules in force and decides for each call; `now` gives seconds and only ever grows."""

    def __init__(self, rng: random.Random, now: Callable[[], float], default: Latency = DEFAULT_LATENCY) -> None:
        self._rng = rng
        self._now = now
        self._default = default
        self._rules: tuple[FaultRule, ...] = ()
        self._windows: dict[int, tuple[float, int]] = {}

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        return self._rules

    def replace(self, rules: Sequence[FaultRule]) -> None:
        """Puts `rules` in force instead of all earlier ones; rate windows begin anew."""
        if len(rules) > MAX_RULES:
            raise ValueError(f"at most {MAX_RULES} rules")
        self._rules = tuple(rules)
        self._windows.clear()

    def decide(self, provider: str, model: str, slowness: float) -> Fault:
        """The fault of one call. `slowness` stretches the default latency, never one that a rule sets."""
        fitting = [(n, rule) for n, rule in enumerate(self._rules) if rule.scope.covers(provider, model)]
        if not fitting:
            return Fault(self._default.draw(self._rng) * slowness)
        latency = next((r.latency_ms for _, r in fitting if r.latency_ms is not None), None)
        first_token = next((r.first_token_ms for _, r in fitting if r.first_token_ms is not None), None)
        return Fault(
            latency=self._default.draw(self._rng) * slowness if latency is None else self._seconds(latency),
            first_token=None if first_token is None else self._seconds(first_token),
            status=next(
                (r.error_status for _, r in fitting if r.error_rate and self._rng.random() < r.error_rate), None
            ),
            retry_after=next((wait for n, r in fitting if (wait := self._wait(n, r)) is not None), None),
            outage=any(r.outage for _, r in fitting),
            hang=any(r.hang for _, r in fitting),
            malformed=any(r.malformed for _, r in fitting),
            cut_after_chunks=next((r.cut_after_chunks for _, r in fitting if r.cut_after_chunks is not None), None),
            batch=next((r.batch for _, r in fitting if r.batch is not None), None),
        )

    def _seconds(self, latency: Latency | float) -> float:
        return latency.draw(self._rng) if isinstance(latency, Latency) else latency / 1000

    def _wait(self, number: int, rule: FaultRule) -> int | None:
        """Whole seconds until the rule's window ends when the call is over its limit, else None (and it is counted)."""
        limit = rule.rate_limit_per_minute
        if limit is None:
            return None
        now = self._now()
        began, used = self._windows.get(number, (now, 0))
        if now - began >= 60:
            began, used = now, 0
        if used >= limit:
            return max(1, math.ceil(began + 60 - now))
        self._windows[number] = (began, used + 1)
        return None
