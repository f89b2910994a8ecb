"""The path of an embedding call. Every stage is a port; ``compose.py`` says what stands behind it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct, structs

from gateway.clock import Clock
from gateway.embedding.base import Embedded, Input, Vectors
from gateway.embedding.catalogue import BUILT_IN
from gateway.errors import BudgetExhausted, ClientGone, PromptyardError, RateLimited
from gateway.ports import Limits, Recorder
from gateway.trail import Trail
from gateway.types import Answer, Attempt, Call, Cost, Layer, ModelRef, Reply, Usage

_NOTHING = Cost(usd=Decimal(0))
_FREE = frozenset(
    {
        "breaker_open",
        "overloaded",
        "provider_overloaded",
        "provider_rate_limited",
        "provider_rejected_key",
        "provider_rejected_request",
        "provider_unknown_model",
        "provider_unreachable",
    }
)
"""Providers bill answers, not refusals; whether anything else was answered nobody here knows."""


class Model(Protocol):
    """Raises a ProviderError, InvalidRequest or Overloaded."""

    async def answer(self, inputs: Sequence[Input]) -> Embedded: ...


class Models(Protocol):
    """Raises UnknownModel and InvalidRequest."""

    def find(self, ref: ModelRef, options: Mapping[str, Any]) -> Model: ...


class Embedding(Struct, frozen=True):
    """One row for each input, in order, as the model gave them, and what it took."""

    vectors: Vectors
    answer: Answer


class EmbedPipeline:
    """Answers embedding calls. Safe to share between all requests of one event loop."""

    def __init__(
        self,
        *,
        models: Models,
        limits: Limits,
        recorder: Recorder,
        price: Callable[[str, str, Usage, float], Cost],
        clock: Clock,
    ) -> None:
        self._models = models
        self._limits = limits
        self._recorder = recorder
        self._price = price
        self._clock = clock

    async def embed(self, call: Call, inputs: Sequence[Input]) -> Embedding:
        """Vectors by ``call.model`` under the options ``call.params``. Raises PromptyardError.

        A call whose model is known and whose key may make it is recorded, however it ends.
        """
        trail = Trail(call=call, begun=self._clock.monotonic())
        ref = ModelRef.parse(call.model)
        model = self._models.find(ref, call.params)
        try:
            await self._limits.admit(call)
            if ref.provider == BUILT_IN:  # no trip to a provider: no tokens or money of anybody
                done, cost = await model.answer(inputs), _NOTHING
            else:
                done, cost = await self._ask(model, trail, ref, inputs)
        except (RateLimited, BudgetExhausted) as error:
            self._recorder.refused(call, error)
            raise
        except Exception as error:
            known = error if isinstance(error, PromptyardError) else PromptyardError(type(error).__name__)
            self._recorder.failed(trail, known, self._since(trail))
            raise
        except asyncio.CancelledError:
            self._recorder.failed(trail, ClientGone("the client went away"), self._since(trail))
            raise
        answer = self._answer(trail, ref, done, cost)
        self._recorder.answered(answer, trail)
        return Embedding(done.vectors, answer)

    async def _ask(self, model: Model, trail: Trail, ref: ModelRef, inputs: Sequence[Input]) -> tuple[Embedded, Cost]:
        """One trip to a provider, paid for before anybody hears of it."""
        reservation = await self._limits.reserve(_measured(trail.call, inputs))
        begun = self._clock.monotonic()
        trail.asked = ref
        try:
            done = await model.answer(inputs)
        except BaseException as error:
            if _is_free(error):
                trail.costs.append(_NOTHING)
                await asyncio.shield(self._limits.release(reservation))
            else:
                trail.costs.append(Cost())  # it may be charged: what was reserved is let go when it expires
            raise
        finally:
            trail.passed("provider", begun, self._clock.monotonic())
        usage = _usage(done)
        cost = self._price(ref.provider, ref.model, usage, trail.call.received_at)
        trail.costs.append(cost)
        await self._limits.settle(reservation, usage, cost.usd)
        return done, cost

    def _answer(self, trail: Trail, ref: ModelRef, done: Embedded, cost: Cost) -> Answer:
        latency_ms = self._since(trail)
        return Answer(
            call=trail.call,
            reply=Reply(
                message={},
                finish_reason="stop",
                provider=ref.provider,
                model=ref.model,
                usage=_usage(done),
                attempts=done.attempts or (Attempt(ref.provider, ref.model, latency_ms),),
            ),
            layer=Layer.NONE,
            cost=cost,
            latency_ms=latency_ms,
        )

    def _since(self, trail: Trail) -> float:
        return (self._clock.monotonic() - trail.begun) * 1000


def _measured(call: Call, inputs: Sequence[Input]) -> Call:
    """The call as limits measure one: by the text that is sent, and with hardly any text to come back."""
    return structs.replace(call, messages=({"role": "user", "content": list(inputs)},), params={"max_tokens": 1})


def _usage(done: Embedded) -> Usage:
    return Usage(input_tokens=sum(done.tokens))


def _is_free(error: BaseException) -> bool:
    """Whether no try can have been charged."""
    codes = [attempt.error for attempt in getattr(error, "attempts", ())] or [getattr(error, "code", "")]
    return _FREE.issuperset(codes)
