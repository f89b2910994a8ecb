"""For whom a tool works: what it may know of the call, and the only documents that it can reach."""

from dataclasses import dataclass, field

from gateway.clock import Clock
from gateway.tools.ports import Library
from gateway.types import Passage


class ToolRefusal(Exception):
    """Raised by a tool that cannot do what it was asked. Its message is for the model and for the caller."""


@dataclass
class Reading:
    """Which documents the tools of one round have seen. ``searched`` is true even when nothing was found."""

    searched: bool = False
    documents: list[str] = field(default_factory=list)
    """``doc:<collection>/<id>@<version>``, in the order they were seen."""


@dataclass(frozen=True)
class ToolContext:
    """The first parameter of a tool that is annotated with this type gets it; it is not part of the tool's schema."""

    tenant: str
    call_id: str
    clock: Clock = field(repr=False)
    collection: str = ""
    """The collection that belongs to the call; empty where none does."""
    epoch: str = ""
    """Of the collection, when the call began."""
    library: Library | None = field(default=None, repr=False)
    reading: Reading = field(default_factory=Reading, repr=False)

    async def search(self, query: str, top_k: int) -> tuple[Passage, ...]:
        """Passages of the call's own collection, best first; no other tenant's and no other collection's.

        Raises ToolRefusal where the call has no collection, StorageUnavailable and ProviderError.
        """
        if self.library is None or not self.collection:
            raise ToolRefusal("no collection of documents belongs to this call")
        self.reading.searched = True
        found = await self.library.find(self.tenant, self.collection, self.epoch, query, top_k)
        self.reading.documents.extend(f"doc:{self.collection}/{p.document}@{p.version}" for p in found.passages)
        return found.passages
