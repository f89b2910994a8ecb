"""The path of an embedding call. Every stage is a port; ``compose.py`` says what stands behind it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from msgspec import Struct

from gateway.clock import Clock
from gateway.embedding.base import Embedded, Input, Vectors
from gateway.embedding.catalogue import BUILT_IN
from gateway.errors import ClientGone, PromptyardError
from gateway.trail import Trail
from gateway.types import Answer, Attempt, Call, Cost, Layer, ModelRef, Reply, Usage


class Model(Protocol):
    """Raises a ProviderError, InvalidRequest or Overloaded."""

    async def answer(self, inputs: Sequence[Input]) -> Embedded: ...


class Models(Protocol):
    """Raises UnknownModel and InvalidRequest."""

    def find(self, ref: ModelRef, options: Mapping[str, Any]) -> Model: ...


class Recorder(Protocol):
    """Hands a call to the ledger durably before its answer leaves. Never raises."""

    def answered(self, answer: Answer, trail: Trail) -> None: ...
    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None: ...


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
        recorder: Recorder,
        price: Callable[[str, str, Usage, float], Cost],
        clock: Clock,
    ) -> None:
        self._models = models
        self._recorder = recorder
        self._price = price
        self._clock = clock

    async def embed(self, call: Call, inputs: Sequence[Input]) -> Embedding:
        """Vectors by ``call.model`` under the options ``call.params``. Raises PromptyardError.

        A call whose model is known is recorded, however it ends.
        """
        begun = self._clock.monotonic()
        trail = Trail(call=call, begun=begun)
        ref = ModelRef.parse(call.model)
        model = self._models.find(ref, call.params)
        try:
            done = await model.answer(inputs)
        except Exception as error:
            known = error if isinstance(error, PromptyardError) else PromptyardError(type(error).__name__)
            self._recorder.failed(trail, known, self._since(begun))
            raise
        except asyncio.CancelledError:
            self._recorder.failed(trail, ClientGone("the client went away"), self._since(begun))
            raise
        answer = self._priced(call, ref, done, self._since(begun))
        self._recorder.answered(answer, trail)
        return Embedding(done.vectors, answer)

    def _priced(self, call: Call, ref: ModelRef, done: Embedded, latency_ms: float) -> Answer:
        usage = Usage(input_tokens=sum(done.tokens))
        cost = self._price(ref.provider, ref.model, usage, call.received_at)
        attempts = done.attempts or (Attempt(ref.provider, ref.model, latency_ms),)
        reply = Reply(
            message={}, finish_reason="stop", provider=ref.provider, model=ref.model, usage=usage, attempts=attempts
        )
        return Answer(
            call=call,
            reply=reply,
            layer=Layer.NONE,
            cost=Cost(usd=Decimal(0)) if ref.provider == BUILT_IN else cost,
            latency_ms=latency_ms,
        )

    def _since(self, begun: float) -> float:
        return (self._clock.monotonic() - begun) * 1000
