"""Plays calls through the request path with a batch API behind it: same cache, ledger and checks as single calls."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from gateway.cache.coalesce import Coalescer, Seat, Work
from gateway.compose import Gateway, lay_path
from gateway.errors import PromptyardError
from gateway.pipeline import Pipeline
from gateway.ports import Retriever
from gateway.pricing import price
from gateway.settings import ProviderSettings
from gateway.trail import Trail
from gateway.types import Answer, Call, Cost, Usage
from tasks.batching.api import BatchApi
from tasks.batching.desk import BatchDesk, BatchUsage
from tasks.batching.gathering import Gathering

Outcome = Answer | PromptyardError
Sleep = Callable[[float], Awaitable[None]]


async def answer_in_batches(
    gateway: Gateway,
    retriever: Retriever,
    calls: Sequence[Call],
    *,
    wait: float,
    in_flight: int,
    sleep: Sleep = asyncio.sleep,
) -> list[Outcome]:
    """The outcomes in order. ``wait``: seconds that a batch may take; ``in_flight``: calls that work at once.

    All calls are of one tenant. A call that waits for its batch does not count as working.
    """
    if not calls:
        return []
    places = asyncio.Semaphore(in_flight)
    apis: dict[str, BatchApi | None] = {}
    desk = BatchDesk(gateway.engine, gateway.clock, calls[0].tenant, gateway.instance, wait=wait, sleep=sleep)
    gathering = Gathering(
        gateway.providers,
        partial(_api_of, gateway.settings.provider_settings(), apis),
        desk,
        {call.id: call.repeat for call in calls},
        singly_in_flight=in_flight,
        on_decided=lambda _: places.release(),
    )
    pipeline = _pipeline(gateway, retriever, gathering)

    async def one(call: Call) -> Outcome:
        await places.acquire()
        try:
            return await pipeline.answer(call)
        except PromptyardError as error:
            return error
        finally:
            gathering.left_out(call.id)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
        await desk.settle()
    finally:
        await gathering.aclose()
        await asyncio.gather(*(api.aclose() for api in apis.values() if api is not None), return_exceptions=True)
    return [task.result() for task in tasks]


class _Announcing:
    """A Coalescer that says so when a call waits for another one: it will not ask itself."""

    def __init__(self, gathering: Gathering) -> None:
        self._flights = Coalescer()
        self._gathering = gathering

    def board(self, key: str, work: Work, trail: Trail) -> Seat:
        if key in self._flights:
            self._gathering.left_out(trail.call.id)
        return self._flights.board(key, work, trail)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def settle(self) -> None:
        await self._flights.settle()

    def __len__(self) -> int:
        return len(self._flights)


def _pipeline(gateway: Gateway, retriever: Retriever, gathering: Gathering) -> Pipeline:
    return lay_path(
        gateway.settings,
        router=gateway.pipeline.router,
        limits=gateway.limits.limits,
        tools=gateway.tools,
        cache=gateway.cache,
        epochs=gateway.epochs,
        retriever=retriever,
        providers=gathering,
        coalescer=_Announcing(gathering),
        recorder=gateway.recorder,
        clock=gateway.clock,
        semantic=gateway.semantic,
        charged=_price,
    )


def _price(provider: str, model: str, usage: Usage, at: float) -> Cost:
    return price(provider, model, usage, at, batched=isinstance(usage, BatchUsage))


def _api_of(settings: dict[str, ProviderSettings], made: dict[str, BatchApi | None], provider: str) -> BatchApi | None:
    """None for a provider that is not configured; one without a batch API says so when it is asked."""
    if provider not in made:
        found = settings.get(provider)
        made[provider] = None if found is None else _new_api(found)
    return made[provider]


def _new_api(settings: ProviderSettings) -> BatchApi:
    if settings.protocol == "anthropic":
        from tasks.batching.anthropic_batches import AnthropicBatches

        return AnthropicBatches(settings)
    from tasks.batching.openai_batches import OpenAIBatches

    return OpenAIBatches(settings)
