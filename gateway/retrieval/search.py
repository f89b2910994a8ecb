"""Finding the passages that ground an answer, in memory, never older than the epoch the caller saw."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec import Struct
from sqlalchemy import Engine

from gateway.clock import Clock, SystemClock
from gateway.embedding.base import Embedder, Vectors
from gateway.errors import ProviderError, StorageUnavailable
from gateway.retrieval.index import Index
from gateway.retrieval.index_loader import load
from gateway.retrieval.ranking import choose, questions
from gateway.types import Passage

_EPOCHS_KEPT = 8
_RETRY_AFTER = 1.0  # seconds for which a failed load under an epoch is not tried again under the same epoch
_INLINE_CELLS = 2_000_000  # about a millisecond of multiplication; more goes to a thread


class Found(Struct, frozen=True):
    """``fresh`` is False when SQL was out of reach and an older index answered: keep no answer made from it."""

    passages: tuple[Passage, ...]
    fresh: bool
    cells: int = 0
    """Numbers that the search has multiplied: what it cost."""


class _Shelf:
    """What one collection needs: its index, the epochs it covers, and how the loads went."""

    def __init__(self) -> None:
        self.index: Index | None = None
        self.covered: tuple[str, ...] = ()
        self.loading = asyncio.Lock()
        self.begun = 0
        self.ended = 0
        self.error: StorageUnavailable | None = None
        self.failed_epoch = ""
        self.failed_at = 0.0


class Retriever:
    """One index for each (tenant, collection), the ``max_collections`` last used ones of them.

    An index covers an epoch when its load began after a caller had read that epoch: what was committed before the
    epoch was published is in it, and stays in every later index.
    """

    def __init__(
        self, engine: Engine, embedder: Embedder, *, clock: Clock | None = None, max_collections: int = 256
    ) -> None:
        self._engine = engine
        self._embedder = embedder
        self._clock = clock or SystemClock()
        self._max_collections = max_collections
        self._shelves: OrderedDict[tuple[str, str], _Shelf] = OrderedDict()

    async def search(self, tenant: str, collection: str, epoch: str, query: str, top_k: int) -> tuple[Passage, ...]:
        """The passages of ``find``, for callers that keep nothing."""
        return (await self.find(tenant, collection, epoch, query, top_k)).passages

    async def find(
        self,
        tenant: str,
        collection: str,
        epoch: str,
        query: str,
        top_k: int,
        *,
        embed: Callable[[Sequence[str]], Awaitable[Vectors]] | None = None,
    ) -> Found:
        """Up to ``top_k`` passages, best first. ``epoch`` is the collection's when the call began, "" while unknown.

        ``embed`` stands for the embedder's own, which may have made its vectors before.

        Under an epoch that the index covers nothing but memory is touched. Raises StorageUnavailable when SQL is out of
        reach and there is no index yet, or documents were changed since it was read: nothing older than an
        acknowledged change is served. Raises a ProviderError when the query cannot be embedded.
        """
        index, fresh = await self._index(tenant, collection, epoch)
        asked = questions(query)
        if not asked or not index.size or top_k < 1:
            return Found((), fresh)
        vectors = await (embed or self._embedder.embed)(asked)

        def chosen() -> list[tuple[int, float]]:
            return choose(index.scores(vectors), index.owners, top_k, max(1, (top_k + 1) // 2), index.place)

        large = index.cells * len(asked) > _INLINE_CELLS
        rows = await asyncio.to_thread(chosen) if large else chosen()
        return Found(tuple(index.passage(row, score) for row, score in rows), fresh, index.cells * len(asked))

    async def _index(self, tenant: str, collection: str, epoch: str) -> tuple[Index, bool]:
        shelf = self._shelf(tenant, collection)
        if shelf.index is not None and epoch in shelf.covered:
            return shelf.index, True
        arrived = shelf.begun
        async with shelf.loading:  # one loader at a time; a load that began after we arrived serves us too
            if shelf.ended <= arrived and not self._just_failed(shelf, epoch):
                await self._load(shelf, tenant, collection, epoch)
            if shelf.error is None and shelf.index is not None:
                if epoch and epoch not in shelf.covered:
                    shelf.covered = (epoch, *shelf.covered)[:_EPOCHS_KEPT]
                return shelf.index, True
            # A known epoch that no index covers: a change was acknowledged which this worker has not read. Without an
            # epoch (Redis is away as well) nothing can be acknowledged anywhere, so the last index is as good as any.
            if shelf.index is not None and not epoch:
                return shelf.index, False
            raise StorageUnavailable(f"the documents of {collection!r} cannot be loaded") from shelf.error

    async def _load(self, shelf: _Shelf, tenant: str, collection: str, epoch: str) -> None:
        shelf.begun += 1
        number = shelf.begun
        try:
            shelf.index = await load(self._engine, self._embedder, tenant, collection, shelf.index or Index())
            shelf.error = None
        except (StorageUnavailable, ProviderError) as error:
            shelf.error = error if isinstance(error, StorageUnavailable) else StorageUnavailable(error.message)
            shelf.failed_epoch, shelf.failed_at = epoch, self._clock.monotonic()
        shelf.ended = number

    def _just_failed(self, shelf: _Shelf, epoch: str) -> bool:
        """The same epoch means that no write was acknowledged since, so the older index may go on for a moment.

        Under an unknown epoch one may have been: then SQL is asked again each time.
        """
        recent = self._clock.monotonic() - shelf.failed_at < _RETRY_AFTER
        return shelf.error is not None and bool(epoch) and epoch == shelf.failed_epoch and recent

    def _shelf(self, tenant: str, collection: str) -> _Shelf:
        key = (tenant, collection)
        shelf = self._shelves.setdefault(key, _Shelf())
        self._shelves.move_to_end(key)
        while len(self._shelves) > self._max_collections:
            self._shelves.popitem(last=False)
        return shelf


def render_passages(passages: Iterable[Passage]) -> str:
    """``[doc:<id>] <title>``, a line break, the text; a blank line between passages. Empty for none."""
    return "\n\n".join(f"[doc:{p.document}] {p.title}".rstrip() + f"\n{p.text}" for p in passages)
