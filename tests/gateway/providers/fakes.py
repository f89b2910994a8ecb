"""Providers that do as they are told, for the seams of retry, breaker and fallback."""

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from gateway.clock import ManualClock
from gateway.errors import ProviderError
from gateway.types import Completion, Delta, ModelRef, Reply, Usage

REF = ModelRef("one", "m")


def request_for(*chain: ModelRef, total: float = 30.0, first_token: float = 10.0) -> Completion:
    return Completion(
        call_id="call_1",
        messages=({"role": "user", "content": "hello"},),
        chain=chain,
        ref=chain[0] if chain else REF,
        total_timeout=total,
        first_token_timeout=first_token,
    )


def reply_of(ref: ModelRef, text: str = "hi") -> Reply:
    return Reply(
        message={"role": "assistant", "content": text},
        finish_reason="stop",
        provider=ref.provider,
        model=ref.model,
        usage=Usage(3, 1),
    )


class ScriptedProvider:
    """Each call takes the next step: None answers, an error is raised, a number of seconds passes first.

    ``cut_after`` is how many deltas a stream yields before an error. The last step repeats.
    """

    def __init__(
        self,
        *steps: ProviderError | None,
        name: str = "one",
        clock: ManualClock | None = None,
        takes: float = 0.0,
        cut_after: int = 0,
    ) -> None:
        self.name = name
        self.requests: list[Completion] = []
        self.closed = False
        self.streams_closed = 0
        self._steps: Sequence[ProviderError | None] = steps or (None,)
        self._clock = clock
        self._takes = takes
        self._cut_after = cut_after

    async def complete(self, request: Completion) -> Reply:
        if error := self._step(request):
            raise error
        return reply_of(request.ref)

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        error = self._step(request)
        try:
            for piece in ["h", "i"][: self._cut_after if error else 2]:
                yield Delta(delta={"content": piece})
            if error:
                raise error
            yield Delta(reply=reply_of(request.ref))
        finally:
            self.streams_closed += 1

    async def aclose(self) -> None:
        self.closed = True

    def _step(self, request: Completion) -> ProviderError | None:
        step = self._steps[min(len(self.requests), len(self._steps) - 1)]
        self.requests.append(request)
        if self._clock:
            self._clock.advance(self._takes)
        return copy.copy(step)  # real providers raise a new error each time, and errors collect what was tried


async def collect(stream: AsyncIterator[Delta], into: list[Delta] | None = None) -> tuple[str, Reply | None]:
    """The text that was streamed and the reply at the end; ``into`` keeps the deltas, also when it fails."""
    text, reply = "", None
    async for delta in stream:
        if into is not None:
            into.append(delta)
        text += delta.delta.get("content") or ""
        reply = delta.reply or reply
    return text, reply
