"""What this room needs of others."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Protocol


class Scripts(Protocol):
    """Runs Lua scripts in the state Redis, each atomically."""

    def run(self, script: str, keys: Sequence[str], args: Sequence[str | int | float]) -> Awaitable[Any]:
        """The command is under way when this returns, before anybody awaits it, and goes on if nobody ever does.

        Awaiting raises one of ``REDIS_TROUBLE`` within a bounded time when Redis is down, slow or full.
        """
        ...


class SpentOn(Protocol):
    """What the ledger knows. Blocking: called in a thread of its own."""

    def __call__(self, tenant: str, day: date, *, prompt: str | None = None, key_id: str | None = None) -> Decimal:
        """US dollars of a UTC day, by prompt or by key. Raises StorageUnavailable."""
        ...


class AnnounceOnce(Protocol):
    """Leaves an event for the control plane. Blocking: called in a thread of its own."""

    def __call__(self, event: str, resource: str, payload: Mapping[str, Any], occasion: Sequence[str]) -> bool:
        """False when this occasion has had its event, whoever left it. Raises StorageUnavailable."""
        ...
