"""What tools need of the rest of the gateway. ``compose.py`` says what stands behind it."""

from typing import Protocol

from gateway.types import Passage


class Retrieved(Protocol):
    """Passages, best first."""

    @property
    def passages(self) -> tuple[Passage, ...]: ...


class Library(Protocol):
    """The documents of all tenants; whoever asks says whose. Raises StorageUnavailable, ProviderError."""

    async def find(self, tenant: str, collection: str, epoch: str, query: str, top_k: int) -> Retrieved: ...
