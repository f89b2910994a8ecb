"""Vectors of queries in a real Redis: embedded once, by tenant and embedder, checked when they are read."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from redis.asyncio import Redis

from gateway.cache.embeddings import MAGIC, PREFIX, EmbeddingCache, decode, encode, rounded, vector_name
from gateway.embedding.base import Vectors, unit_rows
from gateway.errors import ProviderOverloaded
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import LayerPolicy
from tests.servers import RedisServer, free_port

ON, OFF = LayerPolicy(on=True, ttl=60.0), LayerPolicy(on=False)
SIZE = 384


class Model:
    """Random vectors that a text always gets; ``asked`` counts each text that had to be embedded."""

    def __init__(self, name: str = "mini-1", size: int = SIZE, *, told: bool = True) -> None:
        self.name = name
        self.size = size
        self.dimensions = size if told else 0
        self.asked: list[str] = []
        self.down = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.down:
            raise ProviderOverloaded("busy", provider="openai", model=self.name)
        self.asked.extend(texts)
        seeds = [sum(text.encode("utf-8", "surrogatepass")) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.size) for seed in seeds]
        return unit_rows(np.stack(rows)) if rows else np.zeros((0, self.size), dtype=np.float32)

    async def aclose(self) -> None: ...


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def cache(cache_redis: Redis, model: Model) -> EmbeddingCache:
    return EmbeddingCache(RedisLine(cache_redis, timeout=1.0), model)


async def test_a_text_is_embedded_once_and_the_vector_is_the_same_either_way(
    cache: EmbeddingCache, model: Model
) -> None:
    fresh = await cache.embed("acme", ["where is it?", "and when?"], ON)
    kept = await cache.embed("acme", ["where is it?", "and when?"], ON)
    assert (fresh.outcome, kept.outcome) == ("miss", "hit")
    assert model.asked == ["where is it?", "and when?"]
    assert np.array_equal(fresh.vectors, kept.vectors)
    assert np.allclose(np.linalg.norm(kept.vectors, axis=1), 1.0, atol=1e-6)
    exact = await model.embed(["where is it?", "and when?"])
    assert np.abs(kept.vectors @ exact.T - exact @ exact.T).max() < 1e-3


async def test_only_what_is_missing_is_embedded_and_the_order_stays(cache: EmbeddingCache, model: Model) -> None:
    await cache.embed("acme", ["b"], ON)
    found = await cache.embed("acme", ["a", "b", "c"], ON)
    assert (found.outcome, model.asked) == ("miss", ["b", "a", "c"])
    assert np.array_equal(found.vectors, rounded(await model.embed(["a", "b", "c"])))


async def test_tenants_and_embedders_never_share(cache: EmbeddingCache, cache_redis: Redis, model: Model) -> None:
    await cache.embed("acme", ["secret"], ON)
    assert (await cache.embed("other", ["secret"], ON)).outcome == "miss"
    newer = EmbeddingCache(RedisLine(cache_redis, timeout=1.0), Model("mini-2"))
    assert (await newer.embed("acme", ["secret"], ON)).outcome == "miss"
    # A tenant whose name imitates another scope stays apart as well.
    assert vector_name("a|b", "c", "t") != vector_name("a", "b|c", "t")
    assert vector_name("acme", "m", "t").startswith(PREFIX + "acme|m}:")


async def test_the_switch_and_the_time_are_the_prompts(cache: EmbeddingCache, cache_redis: Redis, model: Model) -> None:
    for policy in (OFF, LayerPolicy(on=True, ttl=0.0)):
        assert (await cache.embed("acme", ["a"], policy)).outcome == "off"
    assert await cache_redis.dbsize() == 0
    await cache.embed("acme", ["a"], ON)
    assert 0 < await cache_redis.pttl(vector_name("acme", model.name, "a")) <= 60_000
    assert (await cache.embed("acme", [], ON)).vectors.shape == (0, SIZE)


async def test_trouble_with_redis_is_a_miss_and_keeps_nothing(model: Model) -> None:
    async with connect(f"redis://127.0.0.1:{free_port()}/0", timeout=0.2, connections=1) as redis:
        cache = EmbeddingCache(RedisLine(redis, timeout=0.2), model)
        for _ in range(2):
            found = await cache.embed("acme", ["a"], ON)
            assert (found.outcome, found.vectors.shape) == ("unavailable", (1, SIZE))
    assert model.asked == ["a", "a"]


async def test_a_silent_redis_costs_one_time_out(cache_server: RedisServer, model: Model) -> None:
    async with connect(cache_server.url, timeout=0.2, connections=1) as redis:
        cache = EmbeddingCache(RedisLine(redis, timeout=0.2), model)
        await cache.embed("acme", ["warm"], ON)
        cache_server.pause()
        try:
            async with asyncio.timeout(2):
                assert (await cache.embed("acme", ["a"], ON)).outcome == "unavailable"
        finally:
            cache_server.resume()


async def test_an_embedder_that_is_down_says_so_and_keeps_nothing(
    cache: EmbeddingCache, cache_redis: Redis, model: Model
) -> None:
    await cache.embed("acme", ["a"], ON)
    model.down = True
    assert (await cache.embed("acme", ["a"], ON)).outcome == "hit"
    with pytest.raises(ProviderOverloaded):
        await cache.embed("acme", ["b"], ON)
    assert await cache_redis.dbsize() == 1


async def test_what_is_spoilt_under_its_name_is_made_anew(
    cache: EmbeddingCache, cache_redis: Redis, model: Model
) -> None:
    name, other = vector_name("acme", model.name, "a"), vector_name("acme", model.name, "b")
    await cache.embed("acme", ["a", "b"], ON)
    good = await cache_redis.get(name)
    half = encode(name, np.ones(SIZE // 2, dtype=np.float32))
    for spoilt in (b"", b"x", good[:-1], good[:-2], good + b"\0\0", await cache_redis.get(other), half, MAGIC + good):
        await cache_redis.set(name, spoilt)
        assert (await cache.embed("acme", ["a"], ON)).outcome == "miss"
        assert np.array_equal((await cache.embed("acme", ["a"], ON)).vectors, rounded(await model.embed(["a"])))


async def test_vectors_of_a_model_that_changed_its_size_do_not_mix(cache_redis: Redis) -> None:
    line = RedisLine(cache_redis, timeout=1.0)
    await EmbeddingCache(line, Model(size=64)).embed("acme", ["a"], ON)
    for told in (False, True):  # a remote model learns its size from its first answer
        found = await EmbeddingCache(line, Model(size=128, told=told)).embed("acme", ["a", "b"], ON)
        assert (found.outcome, found.vectors.shape) == ("miss", (2, 128))


@given(
    arrays.arrays(np.float32, 16, elements=st.floats(-1, 1, width=16)),
    st.binary(max_size=3),
    st.integers(0, 40),
)
@settings(max_examples=150)
def test_decode_takes_back_what_encode_wrote_and_nothing_that_was_touched(
    row: Vectors, extra: bytes, place: int
) -> None:
    written = encode("name", row)
    back = decode("name", written, 16)
    assert back is not None
    assert np.array_equal(back, row)
    assert decode("another name", written, 16) is None
    assert (decode("name", written + extra, 16) is None) == bool(extra)
    if place < len(written):
        flipped = written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]
        assert decode("name", flipped, 16) is None
