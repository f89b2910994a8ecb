"""A Provider that waits until everybody has asked, then asks in batches; what does not come back is asked singly."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from gateway.errors import ProviderError, StorageUnavailable
from gateway.ports import Provider
from gateway.types import Completion, Delta, ModelRef, Reply
from tasks.batching.api import BatchApi, BatchItem
from tasks.batching.desk import BatchDesk

log = logging.getLogger(__name__)

WORTH_IT = 2
"""Requests to one model from which on a batch is made of them."""


class Gathering:
    """For the calls of one run, whose ids it is told, and one event loop.

    Each call is either going to ask (``complete``) or is not (``left_out``: it was answered from the cache, say). Once
    that is known of all of them, what they ask goes out. Who asks again after that, because documents changed or a tool
    was called, is answered singly.
    """

    name = "batch"

    def __init__(
        self,
        single: Provider,
        api_of: Callable[[str], BatchApi | None],
        desk: BatchDesk,
        calls: Mapping[str, int],
        *,
        singly_in_flight: int,
        on_decided: Callable[[str], None],
    ) -> None:
        """``calls`` gives each call's repeat by its id; ``on_decided`` hears once of each call that is decided."""
        self._single = single
        self._api_of = api_of
        self._desk = desk
        self._repeats = calls
        self._undecided = set(calls)
        self._places = asyncio.Semaphore(singly_in_flight)
        self._on_decided = on_decided
        self._asked: dict[str, tuple[Completion, asyncio.Future[Reply | None]]] = {}
        self._work: asyncio.Task[None] | None = None

    async def complete(self, request: Completion) -> Reply:
        reply: Reply | None = None
        if request.call_id in self._undecided:
            future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
            self._asked[request.call_id] = (request, future)
            self.left_out(request.call_id)
            reply = await future
        if reply is not None:
            return reply
        async with self._places:
            return await self._single.complete(request)

    def stream(self, request: Completion) -> AsyncGenerator[Delta, None]:
        return self._single.stream(request)

    def left_out(self, call_id: str) -> None:
        """This call is no longer waited for."""
        if call_id not in self._undecided:
            return
        self._undecided.remove(call_id)
        self._on_decided(call_id)
        if not self._undecided and self._asked:
            self._work = asyncio.create_task(self._work_off())

    async def aclose(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _work_off(self) -> None:
        try:
            groups = self._groups()
            await asyncio.gather(*(self._work_off_group(*group) for group in groups))
        finally:  # nobody is left waiting, whatever went wrong: asking singly is always right
            for _, future in self._asked.values():
                if not future.done():
                    future.set_result(None)

    async def _work_off_group(
        self, api: BatchApi, ref: ModelRef, headers: Mapping[str, str], waiting: Mapping[str, tuple[BatchItem, str]]
    ) -> None:
        try:
            replies = await self._desk.work_off(api, ref, [item for item, _ in waiting.values()], headers)
        except StorageUnavailable:
            log.warning("%d requests to %s are asked singly: without SQL a batch may get lost", len(waiting), ref)
            return
        for identity, (_, call_id) in waiting.items():
            future = self._asked[call_id][1]
            if not future.done():
                future.set_result(replies.get(identity))

    def _groups(self) -> Collection[tuple[BatchApi, ModelRef, Mapping[str, str], dict[str, tuple[BatchItem, str]]]]:
        """What can go out together: to one model, under the same headers. By item id: the item, and whose it is."""
        groups: dict[tuple[ModelRef, str], Any] = {}
        seen: Counter[str] = Counter()
        for call_id, (request, _) in self._asked.items():
            ref = request.chain[0]
            api = self._api_of(ref.provider)
            if api is None:
                continue
            try:
                outgoing = api.dialect.encode(msgspec.structs.replace(request, ref=ref), stream=False)
            except ProviderError:
                continue  # the chain knows whom to ask instead
            key = (ref, repr(sorted(outgoing.headers.items())))
            _, _, _, waiting = groups.setdefault(key, (api, ref, outgoing.headers, {}))
            item = _item(outgoing.body, self._repeats[call_id], seen)
            waiting[item.id] = (item, call_id)
        return [group for group in groups.values() if len(group[3]) >= WORTH_IT]


def _item(body: Mapping[str, Any], repeat: int, seen: Counter[str]) -> BatchItem:
    """The same id for the same request in another run, and another one for each repeat: repeats are real."""
    content = msgspec.json.encode((repeat, body), order="deterministic")
    digest = sha256(content).hexdigest()[:48]
    seen[digest] += 1
    return BatchItem(f"{digest}-{seen[digest]}", body)
