"""What this room needs of others."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from gateway.storage.redis_line import Script


class Scripts(Protocol):
    """Runs Lua scripts in the state Redis, each atomically; ``storage.line`` does."""

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[str | int | float], *, hurried: bool = True
    ) -> Awaitable[Any]:
        """The command is under way when this returns, before anybody awaits it, and goes on if nobody ever does.

        One that is not ``hurried`` may leave some milliseconds later, but before what is run after it.
        Awaiting raises one of ``REDIS_TROUBLE`` within a bounded time when Redis is down, slow or full.
        """
        ...


def abandon(started: Awaitable[Any]) -> None:
    """Nobody will await what ``run`` returned: it goes on, and its trouble is no news."""
    asyncio.ensure_future(started).add_done_callback(lambda done: done.cancelled() or done.exception())


class SpentOn(Protocol):
    """What the ledger knows. Blocking: called in a thread of its own."""

    def __call__(
        self, tenant: str, day: date, *, prompt: str | None = None, key_id: str | None = None, mirrored: bool = False
    ) -> Decimal:
        """US dollars of a UTC day, by prompt or by key; ``mirrored``: of a prompt's mirrored calls, else of all others.

        Raises StorageUnavailable.
        """
        ...


class AnnounceOnce(Protocol):
    """Leaves an event for the control plane. Blocking: called in a thread of its own."""

    def __call__(self, event: str, resource: str, payload: Mapping[str, Any], occasion: Sequence[str]) -> bool:
        """False when this occasion has had its event, whoever left it. Raises StorageUnavailable."""
        ...
