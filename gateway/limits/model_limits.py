"""Requests and tokens a minute of a provider's model, for all keys together: what the provider allows us.

The provider chain asks before each try of a link, and tells what was used afterwards::

    wait = await gate.enter(request, background)
    if wait: ...                                  # try the next link, or say how long to wait
    reply = await provider.complete(request)
    await gate.settle(request, reply.usage)       # None when the try failed
"""

from collections import OrderedDict
from collections.abc import Mapping

from msgspec import Struct

from gateway.limits.buckets import Bucket, Buckets, taken
from gateway.limits.estimate import likely_tokens
from gateway.limits.metrics import LimitMetrics
from gateway.limits.rate_notices import RateNotices, slot
from gateway.limits.waiting import SHORTEST_PAUSE, WaitingRoom
from gateway.settings import ModelLimits
from gateway.storage.redis_store import REDIS_TROUBLE
from gateway.types import Completion, Usage

_KINDS = ("model_requests", "model_tokens")
_MOST_IN_FLIGHT = 10_000


class _Entered(Struct, frozen=True):
    name: str
    bucket: Bucket
    estimate: int
    busy: str


class ModelGate:
    """Safe to share within one event loop; ``limits`` by ``provider/model``. What is not named is not limited."""

    def __init__(
        self,
        buckets: Buckets,
        limits: Mapping[str, ModelLimits],
        notices: RateNotices,
        metrics: LimitMetrics,
        room: WaitingRoom,
        *,
        assumed_output: int,
    ) -> None:
        self._buckets = buckets
        self._limits = limits
        self._notices = notices
        self._metrics = metrics
        self._room = room
        self._assumed_output = assumed_output
        self._entered: OrderedDict[tuple[str, str], _Entered] = OrderedDict()

    async def enter(self, request: Completion, background: bool) -> float:
        """0.0 when ``request.ref`` may be asked now, else the seconds until it may (live), or still may not (waited).

        Background calls wait their turn, bounded in time and number. Everybody may with the state Redis down.
        """
        name = str(request.ref)
        limits = self._limits.get(name)
        if limits is None or (limits.requests_per_minute is None and limits.tokens_per_minute is None):
            return 0.0

        async def attempt() -> float:
            return await self._try(name, limits, request)

        line = f"model/{name}"
        wait = SHORTEST_PAUSE if background and self._room.has_line(line) else await attempt()
        return await self._room.wait(line, attempt, wait) if wait > 0.0 and background else wait

    async def settle(self, request: Completion, usage: Usage | None) -> None:
        """Replace the estimate by what was used; None gives it back. The request stays counted. Never raises."""
        entered = self._entered.pop(_try_of(request), None)
        if entered is None:
            return
        used = usage.input_tokens + usage.output_tokens if usage else 0
        try:
            [minute] = await self._buckets.correct(
                (entered.bucket,), (used - entered.estimate,), (entered.busy,), (used,)
            )
        except REDIS_TROUBLE:
            self._metrics.unguarded(_KINDS[1])
            return
        self._notices.used(_KINDS[1], "", entered.name, int(minute), entered.bucket.limit)

    async def _try(self, name: str, limits: ModelLimits, request: Completion) -> float:
        estimate = likely_tokens(request.messages, request.params, self._assumed_output)
        place = f"py:{slot('rate', 'model', name)}"
        wanted = [
            (kind, Bucket(f"{place}:{kind.rpartition('_')[2]}", limit), cost)
            for kind, limit, cost in (
                (_KINDS[0], limits.requests_per_minute, 1),
                (_KINDS[1], limits.tokens_per_minute, estimate),
            )
            if limit is not None
        ]
        kinds, buckets, costs = zip(*wanted, strict=True)
        counted = tuple(int(kind == _KINDS[0]) for kind in kinds)  # tokens count when they are known
        try:
            result = taken(await self._buckets.take(buckets, costs, counted))
        except REDIS_TROUBLE:
            self._metrics.unguarded(kinds[0])
            return 0.0
        if result.wait:
            kind, bucket = kinds[result.which], buckets[result.which]
            self._metrics.refused(kind)
            self._notices.refused(kind, "", name, bucket.limit)
            return result.wait
        for kind, bucket, used, busy in zip(kinds, buckets, result.used, result.busy, strict=True):
            if kind == _KINDS[0]:
                self._notices.used(kind, "", name, used, bucket.limit)
            else:
                self._remember(request, _Entered(name, bucket, estimate, busy))
        return 0.0

    def _remember(self, request: Completion, entered: _Entered) -> None:
        self._entered[_try_of(request)] = entered
        if len(self._entered) > _MOST_IN_FLIGHT:
            self._entered.popitem(last=False)  # it was never settled: its estimate stays counted


def _try_of(request: Completion) -> tuple[str, str]:
    return request.call_id, str(request.ref)
