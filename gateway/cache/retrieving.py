"""The retriever of the request path: a search, and what is kept in front of it."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec

from gateway.cache import rules
from gateway.cache.contexts import ContextCache, Question
from gateway.cache.embeddings import EmbeddingCache
from gateway.clock import Clock
from gateway.embedding.base import Vectors
from gateway.trail import Look
from gateway.types import CachePolicy, LayerPolicy, Passage

EMBEDDING, CONTEXT = "embedding", "context"
UNNEEDED = "unneeded"
"""What stands behind the layer is as fast as a look into it."""
WORTH_CELLS = 1_000_000
"""Numbers whose multiplication takes longer than a look: a thousand chunks of the lexical embedder."""

_MOST_COLLECTIONS = 1024
_DEFAULT: Final = CachePolicy()

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


class Retrieved(msgspec.Struct, frozen=True):
    """As ``ports.Retrieved``."""

    passages: tuple[Passage, ...]
    fresh: bool
    looks: tuple[Look, ...] = ()


class _Found(Protocol):
    @property
    def passages(self) -> tuple[Passage, ...]: ...
    @property
    def fresh(self) -> bool: ...
    @property
    def cells(self) -> int:
        """Numbers that the search has multiplied."""
        ...


class Search(Protocol):
    """Raises StorageUnavailable and a ProviderError. ``embed`` gives the vectors of what is looked for."""

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, *, embed: Embed | None = None
    ) -> _Found: ...


class CachedRetriever:
    """A Retriever: passages kept, else found by vectors kept, else by vectors made now.

    A layer is only asked where that is faster than what stands behind it, whatever a prompt's policy says. Vectors:
    ``embeddings`` is None where the embedder is as fast. Passages: where there are ``embeddings``, and where the last
    search of the collection multiplied ``WORTH_CELLS`` numbers or more.
    """

    def __init__(
        self,
        search: Search,
        *,
        embedder: str,
        embeddings: EmbeddingCache | None,
        contexts: ContextCache,
        clock: Clock,
    ) -> None:
        self._search = search
        self._embedder = embedder
        self.embeddings = embeddings
        self._contexts = contexts
        self._clock = clock
        self._cells: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def find(
        self, tenant: str, collection: str, epoch: str, query: str, top_k: int, policy: CachePolicy = _DEFAULT
    ) -> Retrieved:
        """As ``Search.find``; ``looks`` tells what the layers said that were asked."""
        looks: list[Look] = []
        embed = self._embed(tenant, policy.embedding, looks)
        asked = Question(tenant, collection, epoch, query, top_k, self._embedder)
        outcome = self._why_no_context(asked, policy.context)
        if outcome:
            looks.append(Look(CONTEXT, outcome))
        else:
            begun = self._clock.monotonic()
            passages, outcome = await self._contexts.find(asked)
            looks.append(Look(CONTEXT, outcome, self._clock.monotonic() - begun))
            if passages is not None:
                return Retrieved(passages, True, (looks[-1],))
        found = await self._search.find(tenant, collection, epoch, query, top_k, embed=embed)
        self._note(tenant, collection, found.cells)
        if found.fresh and outcome == rules.MISS:
            self._contexts.keep(asked, found.passages, policy.context.ttl)
        return Retrieved(found.passages, found.fresh, tuple(looks))

    def _why_no_context(self, asked: Question, policy: LayerPolicy) -> str:
        if not _is_on(policy):
            return rules.OFF
        if self.embeddings is None and self._cells.get((asked.tenant, asked.collection), 0) < WORTH_CELLS:
            return UNNEEDED
        return "" if asked.epoch else rules.EPOCH

    def _note(self, tenant: str, collection: str, cells: int) -> None:
        self._cells[tenant, collection] = cells
        self._cells.move_to_end((tenant, collection))
        while len(self._cells) > _MOST_COLLECTIONS:
            self._cells.popitem(last=False)

    def _embed(self, tenant: str, policy: LayerPolicy, looks: list[Look]) -> Embed | None:
        """How the search shall embed; None for its own way."""
        embeddings = self.embeddings
        if embeddings is None:
            looks.append(Look(EMBEDDING, UNNEEDED))
            return None
        if not _is_on(policy):
            looks.append(Look(EMBEDDING, rules.OFF))
            return None

        async def embed(texts: Sequence[str]) -> Vectors:
            begun = self._clock.monotonic()
            embedded = await embeddings.embed(tenant, texts, policy)
            looks.append(Look(EMBEDDING, embedded.outcome, self._clock.monotonic() - begun))
            return embedded.vectors

        return embed


def _is_on(policy: LayerPolicy) -> bool:
    return policy.on and policy.ttl > 0
