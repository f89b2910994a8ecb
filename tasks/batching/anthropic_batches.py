"""Anthropic's message batches by its SDK.

Protocol: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from gateway.providers.vendors.anthropic import AnthropicDialect
from gateway.settings import ProviderSettings
from tasks.batching.api import BatchGone, BatchItem, BatchTrouble

_CLOCKS_APART = 120.0
"""Seconds by which the provider's clock may be behind ours."""
_TIMEOUT = 60.0


class AnthropicBatches:
    """For one event loop. A batch carries no note of ours: one whose name was lost is known by its time and size."""

    def __init__(self, settings: ProviderSettings) -> None:
        from anthropic import AsyncAnthropic, DefaultAioHttpClient

        self.dialect = AnthropicDialect()
        self._client = AsyncAnthropic(
            api_key=settings.api_key.get_secret_value() or "none",
            base_url=settings.base_url or None,
            max_retries=0,
            timeout=_TIMEOUT,
            open_telemetry=False,
            http_client=DefaultAioHttpClient(follow_redirects=False),  # a redirect could carry the key elsewhere
        )

    async def submit(self, record: str, items: Sequence[BatchItem], headers: Mapping[str, str]) -> str:
        requests = [{"custom_id": item.id, "params": dict(item.body)} for item in items]
        async with _translated():
            made = await self._client.messages.batches.create(requests=cast(Any, requests), extra_headers=dict(headers))
            return made.id

    async def find(self, record: str, size: int, since: float, known: frozenset[str]) -> str:
        async with _translated():
            async for batch in self._client.messages.batches.list(limit=100):  # newest first
                if batch.created_at.timestamp() < since - _CLOCKS_APART:
                    break
                counts = batch.request_counts
                total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                if total == size and batch.id not in known:
                    return batch.id
        return ""

    async def has_ended(self, batch: str) -> bool:
        async with _translated():
            return (await self._client.messages.batches.retrieve(batch)).processing_status == "ended"

    async def answers(self, batch: str) -> Mapping[str, object]:
        found: dict[str, object] = {}
        async with _translated():
            async for row in await self._client.messages.batches.results(batch):
                if row.result.type == "succeeded":
                    found[row.custom_id] = row.result.message.model_dump(mode="json")
        return found

    async def cancel(self, batch: str) -> None:
        async with _translated():
            await self._client.messages.batches.cancel(batch)

    async def aclose(self) -> None:
        await self._client.close()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    from anthropic import AnthropicError

    from gateway.providers.failures import TRANSPORT_ERRORS

    caught: tuple[type[Exception], ...] = (AnthropicError, *TRANSPORT_ERRORS, ValueError)  # a line that is no JSON
    try:
        yield
    except caught as error:
        kind = BatchGone if getattr(error, "status_code", None) == 404 else BatchTrouble
        raise kind(type(error).__name__) from None  # the error itself may quote a key or a prompt
