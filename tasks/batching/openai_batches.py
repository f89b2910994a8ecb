"""OpenAI's batch API by its SDK: a file of requests, a batch, a file of answers.

Protocol: https://platform.openai.com/docs/guides/batch
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from gateway.providers.vendors.openai import OpenAIDialect
from gateway.settings import ProviderSettings
from tasks.batching.api import BatchGone, BatchItem, BatchTrouble

_ENDPOINT: Final = "/v1/chat/completions"
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_RECORD = "promptyard_record"
_CLOCKS_APART = 120.0
"""Seconds by which the provider's clock may be behind ours."""
_TIMEOUT = 60.0


class OpenAIBatches:
    """For one event loop. The record is kept in the batch's metadata, so that a lost answer to ``submit`` is found."""

    def __init__(self, settings: ProviderSettings) -> None:
        from openai import AsyncOpenAI, DefaultAioHttpClient

        self.dialect = OpenAIDialect()
        self._client = AsyncOpenAI(
            api_key=settings.api_key.get_secret_value() or "none",
            base_url=settings.base_url or None,
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=DefaultAioHttpClient(follow_redirects=False),  # a redirect could carry the key elsewhere
        )

    async def submit(self, record: str, items: Sequence[BatchItem], headers: Mapping[str, str]) -> str:
        lines = b"\n".join(
            msgspec.json.encode({"custom_id": item.id, "method": "POST", "url": _ENDPOINT, "body": item.body})
            for item in items
        )
        async with _translated():
            file = await self._client.files.create(file=("batch.jsonl", lines), purpose="batch")
            batch = await self._client.batches.create(
                input_file_id=file.id,
                endpoint=_ENDPOINT,
                completion_window="24h",
                metadata={_RECORD: record},
                extra_headers=dict(headers),
            )
            return batch.id

    async def find(self, record: str, size: int, since: float, known: frozenset[str]) -> str:
        async with _translated():
            async for batch in self._client.batches.list(limit=100):  # newest first
                if batch.created_at < since - _CLOCKS_APART:
                    break
                if (batch.metadata or {}).get(_RECORD) == record and batch.id not in known:
                    return batch.id
        return ""

    async def has_ended(self, batch: str) -> bool:
        async with _translated():
            return (await self._client.batches.retrieve(batch)).status in _ENDED

    async def answers(self, batch: str) -> Mapping[str, object]:
        async with _translated():
            file = (await self._client.batches.retrieve(batch)).output_file_id
            content = (await self._client.files.content(file)).content if file else b""
        return dict(answer for line in content.splitlines() if (answer := _read(line)))

    async def cancel(self, batch: str) -> None:
        async with _translated():
            await self._client.batches.cancel(batch)

    async def aclose(self) -> None:
        await self._client.close()


def _read(line: bytes) -> tuple[str, object] | None:
    """The item's id and answer; None of a line that is no success, or broken."""
    try:
        row: Any = msgspec.json.decode(line)
        response = row["response"]
        return (str(row["custom_id"]), response["body"]) if response["status_code"] == 200 else None
    except (ValueError, LookupError, TypeError):
        return None


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    from openai import OpenAIError

    from gateway.providers.failures import TRANSPORT_ERRORS

    caught: tuple[type[Exception], ...] = (OpenAIError, *TRANSPORT_ERRORS)
    try:
        yield
    except caught as error:
        kind = BatchGone if getattr(error, "status_code", None) == 404 else BatchTrouble
        raise kind(type(error).__name__) from None  # the error itself may quote a key or a prompt
