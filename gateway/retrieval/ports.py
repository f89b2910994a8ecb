"""What the document store needs of the answer cache."""

from typing import Protocol


class EpochsPort(Protocol):
    """A collection's epoch is the token under which answers made from its documents are valid.

    Between ``begin`` and its ``publish`` or ``abandon`` no answer is served from or kept in the cache. A mark that
    nobody takes back (the process died) expires by itself, and then the epoch is a new one.
    """

    async def begin(self, tenant: str, collection: str) -> str:
        """Mark a change as pending; the returned token takes the mark back. Raises StorageUnavailable."""

    async def publish(self, tenant: str, collection: str, token: str) -> str:
        """The change is committed (or may be): the collection gets a new epoch. Raises StorageUnavailable."""

    async def abandon(self, tenant: str, collection: str, token: str) -> None:
        """Nothing has changed: the epoch stays. Raises StorageUnavailable."""
