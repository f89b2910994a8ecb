"""Kept passages: true under their own epoch alone, of their own tenant and question, checked when they are read."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.cache.contexts import ContextCache, Question, decode, encode
from gateway.cache.embeddings import EmbeddingCache
from gateway.cache.inventory import Inventory
from gateway.cache.retrieving import WORTH_CELLS, CachedRetriever
from gateway.clock import ManualClock
from gateway.embedding.base import Vectors
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import CachePolicy, LayerPolicy, Passage
from tests.gateway.cache.test_embeddings import Model
from tests.servers import free_port

PASSAGES = (Passage("shipping", 3, "Shipping", "Parcels arrive within three days.", 0.9),)
ASKED = Question("acme", "help", "g.e1", "when do parcels arrive?", 4, "mini-1")
DEFAULT = CachePolicy()
NO_EMBEDDING = CachePolicy(embedding=LayerPolicy(on=False))
NO_CONTEXT = CachePolicy(context=LayerPolicy(on=False))


@dataclass
class Found:
    passages: tuple[Passage, ...]
    fresh: bool
    cells: int


@dataclass
class Library:
    """The search behind: documents of now, its own embedder, and how often it was asked."""

    model: Model
    passages: tuple[Passage, ...] = PASSAGES
    fresh: bool = True
    cells: int = 0
    searched: list[tuple[str, ...]] = field(default_factory=list)

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
        self.searched.append((tenant, collection, epoch, query, str(top_k)))
        await (embed or self.model.embed)([query])
        return Found(self.passages, self.fresh, self.cells)


@pytest.fixture
def library() -> Library:
    return Library(Model())


@pytest.fixture
def retriever(cache_redis: Redis, library: Library, clock: ManualClock) -> CachedRetriever:
    line = RedisLine(cache_redis, timeout=1.0)
    return CachedRetriever(
        library,
        embedder=library.model.name,
        embeddings=EmbeddingCache(line, library.model),
        contexts=ContextCache(line),
        clock=clock,
    )


async def ask(retriever: CachedRetriever, policy: CachePolicy = DEFAULT, **changes: object) -> tuple[object, ...]:
    """Passages, whether they are fresh, and what the layers said."""
    values = msgspec.structs.asdict(ASKED) | changes
    found = await retriever.find(*(values[name] for name in Question.__struct_fields__[:5]), policy)
    return found.passages, found.fresh, {look.layer: look.outcome for look in found.looks}


async def test_a_question_is_searched_once_under_an_epoch(retriever: CachedRetriever, library: Library) -> None:
    assert await ask(retriever) == (PASSAGES, True, {"context": "miss", "embedding": "miss"})
    assert await ask(retriever) == (PASSAGES, True, {"context": "hit"})
    assert len(library.searched) == 1


async def test_after_a_change_the_old_passages_are_never_given_again(
    retriever: CachedRetriever, library: Library
) -> None:
    await ask(retriever)
    library.passages = (replace(PASSAGES[0], version=4, text="Parcels arrive within two days."),)
    assert await ask(retriever, epoch="g.e2") == (library.passages, True, {"context": "miss", "embedding": "hit"})
    assert (await ask(retriever, epoch="g.e2"))[0] == library.passages


@pytest.mark.parametrize(
    "changes", [{"tenant": "other"}, {"collection": "faq"}, {"epoch": "g.e2"}, {"query": "parcels?"}, {"top_k": 5}]
)
async def test_another_question_is_searched_anew(
    retriever: CachedRetriever, library: Library, changes: dict[str, object]
) -> None:
    await ask(retriever)
    *_, said = await ask(retriever, **changes)
    assert isinstance(said, dict)
    assert (said["context"], len(library.searched)) == ("miss", 2)


async def test_another_embedder_is_another_question(
    retriever: CachedRetriever, cache_redis: Redis, clock: ManualClock
) -> None:
    await ask(retriever)
    line = RedisLine(cache_redis, timeout=1.0)
    model = Model("mini-2")
    newer = CachedRetriever(
        Library(model),
        embedder=model.name,
        embeddings=EmbeddingCache(line, model),
        contexts=ContextCache(line),
        clock=clock,
    )
    assert (await ask(newer))[2] == {"context": "miss", "embedding": "miss"}


async def test_an_unknown_epoch_and_passages_that_may_be_old_are_not_kept(
    retriever: CachedRetriever, library: Library
) -> None:
    for _ in range(2):
        assert (await ask(retriever, epoch=""))[2] in (
            {"context": "epoch", "embedding": "miss"},
            {"context": "epoch", "embedding": "hit"},
        )
    library.fresh = False
    assert (await ask(retriever))[1] is False
    library.fresh = True
    assert (await ask(retriever))[2] == {"context": "miss", "embedding": "hit"}
    assert len(library.searched) == 4


async def test_each_layer_has_its_own_switch(retriever: CachedRetriever, library: Library, cache_redis: Redis) -> None:
    both_off = CachePolicy(embedding=LayerPolicy(on=False), context=LayerPolicy(on=False))
    assert (await ask(retriever, both_off))[2] == {"context": "off", "embedding": "off"}
    assert await cache_redis.dbsize() == 0
    assert (await ask(retriever, NO_CONTEXT))[2] == {"context": "off", "embedding": "miss"}
    assert (await ask(retriever, NO_EMBEDDING))[2] == {"context": "miss", "embedding": "off"}
    assert (await ask(retriever, NO_EMBEDDING))[2] == {"context": "hit"}
    assert (await ask(retriever, both_off))[2] == {"context": "off", "embedding": "off"}


async def test_the_time_to_live_is_the_prompts(retriever: CachedRetriever, cache_redis: Redis) -> None:
    await ask(retriever, CachePolicy(context=LayerPolicy(ttl=7.0)))
    assert 0 < await cache_redis.pttl(ASKED.name) <= 7_000


async def test_behind_a_fast_embedder_passages_are_kept_where_the_search_is_long(
    cache_redis: Redis, library: Library, clock: ManualClock
) -> None:
    contexts = ContextCache(RedisLine(cache_redis, timeout=1.0))
    plain = CachedRetriever(library, embedder="lexical", embeddings=None, contexts=contexts, clock=clock)
    library.cells = WORTH_CELLS - 1
    for _ in range(2):
        assert await ask(plain) == (PASSAGES, True, {"context": "unneeded", "embedding": "unneeded"})
    assert await cache_redis.dbsize() == 0
    library.cells = WORTH_CELLS
    said = [(await ask(plain))[2] for _ in range(3)]
    assert said[1:] == [{"context": "miss", "embedding": "unneeded"}, {"context": "hit"}]
    assert (await ask(plain, tenant="other"))[2] == {"context": "unneeded", "embedding": "unneeded"}


async def test_trouble_with_redis_is_a_miss(library: Library, clock: ManualClock) -> None:
    async with connect(f"redis://127.0.0.1:{free_port()}/0", timeout=0.2, connections=1) as redis:
        line = RedisLine(redis, timeout=0.2)
        lost = CachedRetriever(
            library,
            embedder="mini-1",
            embeddings=EmbeddingCache(line, library.model),
            contexts=ContextCache(line),
            clock=clock,
        )
        assert await ask(lost) == (PASSAGES, True, {"context": "unavailable", "embedding": "unavailable"})


def test_what_is_kept_is_checked_when_it_is_read() -> None:
    written = encode(ASKED, PASSAGES)
    assert decode(ASKED, written) == PASSAGES
    for other in (replace(ASKED, tenant="other"), replace(ASKED, epoch="g.e2"), replace(ASKED, embedder="mini-2")):
        assert decode(other, written) is None
    for spoilt in (None, b"", b"x", written[:-1], written[:7] + b"\xc1", b"pc\x02" + written[3:]):
        assert decode(ASKED, spoilt) is None
    for place in range(len(written)):
        assert decode(ASKED, written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]) is None


async def test_what_no_format_holds_is_not_kept(retriever: CachedRetriever, library: Library) -> None:
    assert (await ask(retriever, NO_EMBEDDING, query="half \ud800"))[0] == PASSAGES
    assert (await ask(retriever, NO_EMBEDDING, query="half \ud800"))[0] == PASSAGES
    assert len(library.searched) == 2


async def test_what_is_kept_of_a_tenants_questions_goes_with_it(retriever: CachedRetriever, cache_redis: Redis) -> None:
    for tenant in ("acme", "acme|x", "a*e"):
        await ask(retriever, tenant=tenant)
    assert await Inventory(cache_redis).forget_beneath("acme") == 2
    assert await Inventory(cache_redis).forget_beneath("a*e") == 2
    assert (await ask(retriever, tenant="acme|x"))[2] == {"context": "hit"}
    assert (await ask(retriever))[2] == {"context": "miss", "embedding": "miss"}
