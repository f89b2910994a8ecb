"""Posts events to Prefect's HTTP API from the outbox table, without Prefect.

The wire format is that of ``POST {api}/events``: a list of events with ``occurred``, ``event``, ``resource``,
``related``, ``payload`` and ``id`` (https://docs.prefect.io/v3/concepts/events). An event is posted at least once; its
id is made from the row's, so that a repetition is recognisable. Events only wake flows, schedules sweep behind them.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
from sqlalchemy import Engine, select, update

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import OutboxRow

_BATCH = 50
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_REFUSALS = 10
_NEVER = 1e12
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:promptyard:outbox")

_log = logging.getLogger(__name__)


class Outbox:
    """Delivers due rows in batches. Not safe to run twice at once: the ledger-writer's lock sees to that."""

    def __init__(
        self, engine: Engine, clock: Clock, api_url: str, entropy: random.Random, *, timeout: float = 5.0
    ) -> None:
        """``api_url`` such as ``http://127.0.0.1:4200/api``; ``timeout`` (seconds) bounds each request."""
        self._engine = engine
        self._clock = clock
        self._url = api_url.rstrip("/") + "/events"
        self._entropy = entropy
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self) -> int:
        """One bounded round over due rows; returns how many were posted.

        A server that does not answer well makes all of them wait, exponentially longer and at most a minute. An event
        that the server refuses (4xx) is posted alone from then on and set aside after ten refusals. Raises
        StorageUnavailable when SQL does not answer.
        """
        due = await asyncio.to_thread(self._due)
        if not due:
            return 0
        status = await self._post(due)
        if not _is_refusal(status) or len(due) == 1:
            return await self._settle(due, status)
        posted = 0
        for row in due:  # one of them spoils the batch
            status = await self._post([row])
            posted += await self._settle([row], status)
            if not 200 <= status < 300 and not _is_refusal(status):
                break  # it does not answer any more: the rest waits with the next round's
        return posted

    async def aclose(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    def _due(self) -> Sequence[OutboxRow]:
        with reading(self._engine) as session:
            rows = select(OutboxRow).where(OutboxRow.sent_at.is_(None), OutboxRow.next_attempt_at <= self._clock.now())
            return session.scalars(rows.order_by(OutboxRow.created_at, OutboxRow.id).limit(_BATCH)).all()

    async def _post(self, rows: Sequence[OutboxRow]) -> int:
        """The HTTP status, or 0 when there was no answer in time."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.post(self._url, json=[event_of(row) for row in rows]) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def _settle(self, rows: Sequence[OutboxRow], status: int) -> int:
        if 200 <= status < 300:
            await asyncio.to_thread(self._mark_sent, [row.id for row in rows])
            return len(rows)
        _log.warning("Prefect did not take %d events (%s)", len(rows), f"HTTP {status}" if status else "no answer")
        await asyncio.to_thread(self._postpone, rows, _is_refusal(status))
        return 0

    def _mark_sent(self, ids: list[str]) -> None:
        with writing(self._engine) as session:
            session.execute(update(OutboxRow).where(OutboxRow.id.in_(ids)).values(sent_at=self._clock.now()))

    def _postpone(self, rows: Sequence[OutboxRow], refused: bool) -> None:
        now = self._clock.now()
        with writing(self._engine) as session:
            for row in rows:
                attempts = row.attempts + 1
                aside = refused and attempts >= _REFUSALS
                again = _NEVER if aside else now + pause_after(attempts, self._entropy)
                changed = {"attempts": attempts, "next_attempt_at": again}
                session.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(changed))


def event_of(row: OutboxRow) -> dict[str, Any]:
    """The row as Prefect's event JSON."""
    return {
        "id": str(uuid.uuid5(_NAMESPACE, row.id)),
        "occurred": datetime.fromtimestamp(row.created_at, UTC).isoformat(),
        "event": row.event,
        "resource": {"prefect.resource.id": row.resource},
        "related": [],
        "payload": row.payload,
    }


def pause_after(attempts: int, entropy: random.Random) -> float:
    """Seconds before the next attempt: 1, 2, 4 ... 60, each with up to a quarter of jitter on top."""
    pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempts - 1, 10))
    return pause * (1 + entropy.random() / 4)


def _is_refusal(status: int) -> bool:
    return 400 <= status < 500 and status not in (404, 408, 425, 429)  # 404: the server is not Prefect's API yet
