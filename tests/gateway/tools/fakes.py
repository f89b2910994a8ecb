"""A library in memory that remembers whose documents were asked for."""

from dataclasses import dataclass, field

from gateway.types import Passage


@dataclass(frozen=True)
class Shelf:
    passages: tuple[Passage, ...]


@dataclass
class FakeLibrary:
    """``documents`` by (tenant, collection)."""

    documents: dict[tuple[str, str], tuple[Passage, ...]] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str, int]] = field(default_factory=list)

    async def find(self, tenant: str, collection: str, epoch: str, query: str, top_k: int) -> Shelf:
        self.asked.append((tenant, collection, epoch, query, top_k))
        return Shelf(self.documents.get((tenant, collection), ())[:top_k])
