"""Walks the chain of a request: the first provider that answers, answers."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing

from msgspec.structs import replace

from gateway.clock import Clock
from gateway.errors import BreakerOpen, ChainExhausted, ProviderError, ProviderUnknownModel, StreamInterrupted
from gateway.providers import attempts
from gateway.providers.base import Provider
from gateway.providers.breaking import PATIENCE
from gateway.providers.unsent import ProviderLacksFeature
from gateway.types import Attempt, Completion, Delta, ModelRef, Reply


class FallbackChain:
    """A Provider that asks the links of ``request.chain`` in order, within ``request.total_timeout`` for all of them.

    If none answered, a link that was left alone and may be well again is asked after all: when every provider was down,
    nobody has asked the later links since, and the next failures of the first one find their breakers half-open.

    Raises ``ChainExhausted`` when every link failed, or the error itself when no other link could help (the request is
    wrong) or when no link could even express the request. Either carries ``attempts``, every try of every link; so does
    the reply of a link that answered.
    """

    name = "chain"

    def __init__(self, providers: Mapping[str, Provider], clock: Clock) -> None:
        self._providers = providers
        self._clock = clock

    async def complete(self, request: Completion) -> Reply:
        walk = _Walk(self._clock, request)
        for link in walk.links():
            try:
                reply = await self._provider(link.ref).complete(link)
            except ProviderError as error:
                walk.failed(error, link.ref)
            else:
                return walk.answered(reply, link.ref)
        raise walk.exhausted()

    async def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        walk = _Walk(self._clock, request)
        for link in walk.links(streaming=True):
            begun = False
            try:
                async with aclosing(self._provider(link.ref).stream(link)) as deltas:
                    async for delta in deltas:
                        begun = True
                        if delta.reply is not None:
                            delta = replace(delta, reply=walk.answered(delta.reply, link.ref))
                        yield delta
                return
            except ProviderError as error:
                if begun:
                    raise walk.interrupted(error, link.ref) from None
                walk.failed(error, link.ref)
        raise walk.exhausted()

    async def aclose(self) -> None:
        for provider in self._providers.values():
            await provider.aclose()

    def _provider(self, ref: ModelRef) -> Provider:
        provider = self._providers.get(ref.provider)
        if provider is None:
            raise ProviderUnknownModel(
                f"There is no provider named {ref.provider!r}.",
                provider=ref.provider,
                model=ref.model,
                hint="Name one of the configured providers in the chain, or add it to PROMPTYARD_PROVIDERS.",
            )
        return provider


def time_for_link(left: float, first_token_timeout: float, *, is_last: bool) -> float:
    """Seconds that a link may take of the ``left`` ones.

    One that is not the last leaves the others the time of a first token, though never more than half: a link that hangs
    must not use up the time in which another one would answer.
    """
    return left if is_last else left - min(first_token_timeout, left / 2)


class _Walk:
    """The book of one walk along the chain."""

    def __init__(self, clock: Clock, request: Completion) -> None:
        self._clock = clock
        self._request = request
        self._deadline = clock.monotonic() + request.total_timeout
        self._link_started = clock.monotonic()
        self._tries: tuple[Attempt, ...] = ()
        self._retry_after: list[float] = []
        self._lacking: ProviderError | None = None
        self._lacked = 0
        self._left_alone: list[tuple[float, ModelRef]] = []

    def links(self, *, streaming: bool = False) -> Iterator[Completion]:
        """The request for each link in turn, while there is time."""
        chain = self._request.chain
        for position, ref in enumerate(chain, start=1):
            if (left := self._time_left()) <= 0:
                return
            share = time_for_link(left, self._request.first_token_timeout, is_last=position == len(chain))
            yield replace(
                self._request,
                ref=ref,
                # an answer that flows may use all the time; before its first token the link only has its share
                total_timeout=left if streaming else share,
                first_token_timeout=min(self._request.first_token_timeout, share),
            )
        if self._left_alone and (left := self._time_left()) > 0:
            first_token = min(self._request.first_token_timeout, left)
            _, ref = min(self._left_alone, key=lambda alone: alone[0])
            yield replace(self._request, ref=ref, total_timeout=left, first_token_timeout=first_token, patient=True)

    def _time_left(self) -> float:
        self._link_started = self._clock.monotonic()
        return self._deadline - self._link_started

    def answered(self, reply: Reply, ref: ModelRef) -> Reply:
        if reply.attempts and not self._tries:
            return reply
        return replace(reply, attempts=self._tries + attempts.succeeded(reply, ref, self._latency_ms()))

    def failed(self, error: ProviderError, ref: ModelRef) -> None:
        """Notes the failure; raises the error if no other link can help."""
        self._note(error, ref)
        if not error.fall_back:
            raise attempts.attach(error, self._tries) from None

    def interrupted(self, error: ProviderError, ref: ModelRef) -> ProviderError:
        self._note(error, ref)
        interrupted = StreamInterrupted(
            f"{ref} stopped in the middle of its answer ({error.code}).", provider=ref.provider, model=ref.model
        )
        interrupted.partial = error.partial
        return attempts.attach(interrupted, self._tries)

    def exhausted(self) -> ProviderError:
        if self._lacking is not None and len(self._tries) == self._lacked:
            return attempts.attach(self._lacking, self._tries)  # the caller's to change, and no outage
        told = "; ".join(f"{a.provider}/{a.model}: {a.error}" for a in self._tries) or "there was nobody to ask"
        error = ChainExhausted(f"No provider answered: {told}.", retry_after=min(self._retry_after, default=None))
        return attempts.attach(error, self._tries)

    def _note(self, error: ProviderError, ref: ModelRef) -> None:
        self._tries += attempts.failed(error, ref, self._latency_ms())
        if isinstance(error, ProviderLacksFeature):
            self._lacking = error
            self._lacked += 1
        if isinstance(error, BreakerOpen) and error.known_in is not None and error.known_in <= PATIENCE:
            self._left_alone.append((error.known_in, ref))
        if error.retry_after is not None:
            self._retry_after.append(error.retry_after)

    def _latency_ms(self) -> float:
        return (self._clock.monotonic() - self._link_started) * 1000
