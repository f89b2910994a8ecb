"""The port to a provider's batch API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.providers.dialect import Dialect


class BatchTrouble(Exception):
    """The batch API did not do what was asked. The message holds no key, prompt or answer."""


class BatchGone(BatchTrouble):
    """The provider does not know the batch, or not any more."""


@dataclass(frozen=True)
class BatchItem:
    """One request: ``id`` is 1–64 characters of ``[A-Za-z0-9_-]``, ``body`` what the single endpoint takes."""

    id: str
    body: Mapping[str, Any]


class BatchApi(Protocol):
    """One provider's. Every call is bounded in time and raises ``BatchTrouble``."""

    @property
    def dialect(self) -> Dialect: ...

    async def submit(self, record: str, items: Sequence[BatchItem], headers: Mapping[str, str]) -> str:
        """The provider's name for the new batch. After ``BatchTrouble`` it may exist all the same: see ``find``."""
        ...

    async def find(self, record: str, size: int, since: float, known: frozenset[str]) -> str:
        """The batch that was submitted for ``record`` at or after ``since`` (Unix seconds); empty if there is none.

        ``known`` are batches of other records. A provider that keeps no note of the record gives the best guess: what
        it answers is matched by the items' ids in any case.
        """
        ...

    async def has_ended(self, batch: str) -> bool: ...

    async def answers(self, batch: str) -> Mapping[str, object]:
        """The single endpoint's answers by item id, of the items that succeeded, once the batch has ended."""
        ...

    async def cancel(self, batch: str) -> None: ...

    async def aclose(self) -> None: ...
