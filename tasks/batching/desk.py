"""Works off requests to one model through its batch API: find what is under way, submit the rest, wait, collect."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import structs
from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.providers.dialect import Parsed
from gateway.storage.models import ProviderBatchRow
from gateway.types import Attempt, ModelRef, Reply, Usage
from tasks.batching import records
from tasks.batching.api import BatchApi, BatchGone, BatchItem, BatchTrouble

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ITEMS = 10_000
"""Requests in one batch; both providers take more."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_FAILED_LOOKS = 10
"""Looks at a batch that may fail one after the other until it is given up."""
_LOOKS_AFTER_CANCEL = 5


class BatchUsage(Usage, frozen=True):
    """Tokens at a batch's prices. Kept answers forget the difference: who is served one is spared a single call."""


class BatchDesk:
    """For one tenant. Batches whose answers were collected stay on record until ``settle``."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        tenant: str,
        owner: str,
        *,
        wait: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``wait``: seconds from a batch's submission until it is cancelled and what it has is taken."""
        self._engine = engine
        self._clock = clock
        self._tenant = tenant
        self._owner = owner
        self._wait = wait
        self._sleep = sleep
        self._to_settle: dict[str, str] = {}

    async def work_off(
        self, api: BatchApi, ref: ModelRef, items: Sequence[BatchItem], headers: Mapping[str, str]
    ) -> dict[str, Reply]:
        """Replies by item id. What is missing was not answered by the batch API, for whatever reason.

        Raises StorageUnavailable before anything is submitted; cancelled, it leaves its batches to the next run.
        """
        wanted = {item.id: item for item in items}
        under_way = [
            row
            for row in await asyncio.to_thread(records.open_batches, self._engine, self._clock, self._tenant, ref)
            if wanted.keys() & set(row.items)
        ]
        for row in under_way:
            for identity in row.items:
                wanted.pop(identity, None)
        rest = list(wanted.values())
        new = [rest[start : start + MAX_ITEMS] for start in range(0, len(rest), MAX_ITEMS)]
        results = await asyncio.gather(
            *(self._collect(api, ref, row) for row in under_way),
            *(self._submit_and_collect(api, ref, chunk, headers) for chunk in new),
        )
        return {identity: reply for found in results for identity, reply in found.items()}

    async def settle(self) -> None:
        """The answers are kept: the batches they came from need not be remembered."""
        try:
            for identity, state in self._to_settle.items():
                await asyncio.to_thread(records.note, self._engine, identity, state)
        except StorageUnavailable:
            log.warning("batches stay open although they were collected: SQL is down")
        self._to_settle.clear()

    async def _submit_and_collect(
        self, api: BatchApi, ref: ModelRef, items: Sequence[BatchItem], headers: Mapping[str, str]
    ) -> dict[str, Reply]:
        ids = [item.id for item in items]
        row, mine = await asyncio.to_thread(
            records.claim, self._engine, self._clock, self._tenant, ref, ids, self._owner
        )
        if mine:
            try:
                name = await api.submit(_label(row), items, headers)
            except BatchTrouble as trouble:
                log.warning("a batch of %d for %s was not submitted (%s)", len(items), ref, trouble)
                name = await self._look_for(api, row)
            await self._note_submission(row, name)
        return await self._collect(api, ref, row)

    async def _collect(self, api: BatchApi, ref: ModelRef, row: ProviderBatchRow) -> dict[str, Reply]:
        name = await self._name(api, row)
        if not name:
            return {}
        try:
            await self._until_ended(api, name, row.created_at + self._wait)
            answers = await api.answers(name)
        except BatchTrouble as trouble:
            log.warning("the batch %s of %s cannot be collected (%s)", name, ref, trouble)
            if isinstance(trouble, BatchGone):
                self._to_settle[row.id] = records.ABANDONED  # any other one may be collected by a later run
            return {}
        self._to_settle[row.id] = records.COLLECTED
        taken = (self._clock.now() - row.created_at) * 1000
        return {
            identity: reply
            for identity, answer in answers.items()
            if (reply := _reply(api, ref, answer, taken)) is not None
        }

    async def _name(self, api: BatchApi, row: ProviderBatchRow) -> str:
        """The provider's name of the batch; empty if it was never submitted. Waits for whoever is submitting it."""
        while True:
            row = await asyncio.to_thread(records.find, self._engine, row.id)
            if row.state != records.SUBMITTING:
                return row.provider_batch
            if await asyncio.to_thread(records.take_over, self._engine, self._clock, row.id, self._owner):
                name = await self._look_for(api, row)
                await self._note_submission(row, name)
                return name
            await self._sleep(_FIRST_PAUSE)

    async def _look_for(self, api: BatchApi, row: ProviderBatchRow) -> str:
        """The batch that may have been submitted although nobody heard of it."""
        known = await asyncio.to_thread(records.known_to_providers, self._engine, row.provider)
        try:
            return await api.find(_label(row), len(row.items), row.created_at, known)
        except BatchTrouble:
            return ""

    async def _note_submission(self, row: ProviderBatchRow, name: str) -> None:
        state = records.SUBMITTED if name else records.ABANDONED
        await asyncio.to_thread(records.note, self._engine, row.id, state, provider_batch=name)

    async def _until_ended(self, api: BatchApi, name: str, deadline: float) -> None:
        """Cancels what is not done by the deadline: the items that are done can be had then. Raises BatchTrouble."""
        pause, failures = _FIRST_PAUSE, 0
        while True:
            try:
                if await api.has_ended(name):
                    return
                failures = 0
            except BatchGone:
                raise
            except BatchTrouble:
                failures += 1
                if failures >= _FAILED_LOOKS:
                    raise
            left = deadline - self._clock.now()
            if left <= 0:
                break
            await self._sleep(min(pause, max(left, 0.01)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        await api.cancel(name)
        for _ in range(_LOOKS_AFTER_CANCEL):
            if await api.has_ended(name):
                return
            await self._sleep(_FIRST_PAUSE)
        raise BatchTrouble("it did not end when it was cancelled")


def _label(row: ProviderBatchRow) -> str:
    """Names one submission: a record may be used again long after its batch was collected."""
    return f"{row.id}@{row.created_at:.3f}"


def _reply(api: BatchApi, ref: ModelRef, answer: object, taken_ms: float) -> Reply | None:
    try:
        parsed: Parsed = api.dialect.decode(answer)
    except ValueError:
        return None
    return Reply(
        message=parsed.message,
        finish_reason=parsed.finish_reason,
        provider=ref.provider,
        model=ref.model,
        usage=BatchUsage(**structs.asdict(parsed.usage)),
        attempts=(Attempt(ref.provider, ref.model, taken_ms),),
    )
