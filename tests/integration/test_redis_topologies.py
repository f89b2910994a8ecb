"""The gateway on a Redis Cluster and behind Sentinels: cache, epochs and limits work; a failure costs only hits."""

import asyncio
from collections.abc import Iterator

import pytest

from deployments.drills.yard import yard
from gateway.auth.keys import create_key
from gateway.compose import compose
from gateway.storage.cluster_client import slot_of
from gateway.storage.redis_store import GENERATION_KEY
from gateway.types import KeyLimits
from tests.gateway.api.conftest import Shop, open_shop
from tests.gateway_stack import Stack, gateway_stack, unique, until
from tests.redis_cluster import Cluster, Watched, redis_cluster, watched_redis
from tests.servers import CACHE_ROLE, STATE_ROLE

pytestmark = pytest.mark.integration

QUICK = {"redis_timeout": 0.5}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def on_cluster(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("on-cluster")
    with gateway_stack(home, cache_redis_url=cluster.url, state_redis_url=cluster.url, **QUICK) as running:
        yield running


@pytest.fixture
def clustered(on_cluster: Stack, cluster: Cluster) -> Iterator[Shop]:
    shop = open_shop(on_cluster, unique("tenant"), unique("help"))
    yield shop
    assert not cluster.crossed()
    shop.openai.close()
    shop.http.close()


def cached(shop: Shop) -> bool:
    return shop.answer()[1] == "exact"


def forget(stack: Stack, shop: Shop) -> int:
    """As a command of the shell does: with a gateway of its own, in a loop of its own."""

    async def run() -> int:
        gateway = compose(stack.settings)
        try:
            return await gateway.cache.forget(shop.tenant, shop.prompt)
        finally:
            await gateway.close()

    return asyncio.run(run())


def check_freshness(shop: Shop) -> None:
    until("cached", lambda: cached(shop))
    assert "three days" in shop.answer()[0]
    shop.put("shipping", "Shipping times", "Parcels arrive within nine days.")
    assert "nine days" in shop.answer()[0]
    until("cached again", lambda: cached(shop))
    assert "nine days" in shop.answer()[0]


def test_answers_are_kept_and_never_stale_on_a_cluster(clustered: Shop) -> None:
    check_freshness(clustered)


def test_limits_hold_on_a_cluster(on_cluster: Stack, clustered: Shop) -> None:
    limits = KeyLimits(requests_per_minute=3)
    plain, _ = create_key(on_cluster.engine, on_cluster.clock, clustered.tenant, "limited", ["chat"], limits)
    with on_cluster.http(plain) as http:
        body = {"model": f"prompt:{clustered.prompt}", "variables": {"question": "When do parcels arrive?"}}
        codes = [http.post("/v1/chat/completions", json=body).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]


def test_what_is_kept_on_all_nodes_is_surveyed_and_forgotten(on_cluster: Stack, clustered: Shop) -> None:
    for number in range(6):
        clustered.answer(f"When do parcels arrive, take {number}?")
    other = open_shop(on_cluster, clustered.tenant, unique("help"))
    other.answer()
    found = forget(on_cluster, clustered)
    assert found == 6
    assert other.answer()[1] == "exact"
    other.openai.close()
    other.http.close()


async def test_workers_on_a_cluster_share_what_is_under_way(cluster: Cluster) -> None:
    changes = {"cache_redis_url": cluster.url, "state_redis_url": cluster.url}
    async with yard(seconds=0.5, **changes) as place, place.workers(2) as workers:
        question = unique("question")
        asked = [workers[number % 2].pipeline.answer(place.call(question)) for number in range(40)]
        answers = await asyncio.gather(*asked)
        assert place.upstream.calls == 1
        assert len({answer.reply.text for answer in answers}) == 1
    assert not cluster.crossed()


def test_all_live_gateways_are_known_on_a_cluster(on_cluster: Stack) -> None:
    assert set(on_cluster.on_state(lambda store: store.live())) == {on_cluster.gateway.instance}


def test_each_node_counts_in_what_readiness_says(on_cluster: Stack) -> None:
    with on_cluster.http() as http:
        told = http.get("/readyz").json()
    assert told["status"] == "ok"
    assert sum("has no maxmemory" in one for one in told["warnings"]) == 1  # this cluster has no limit


def everybody_is_answered(shop: Shop) -> None:
    for number in range(8):
        answer = shop.ask(f"When do parcels arrive, take {number}?")
        assert answer.status_code == 200
        assert "three days" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("epochs", [False, True])
def test_when_a_node_of_the_cluster_dies_calls_go_on_uncached(
    cluster: Cluster, on_cluster: Stack, clustered: Shop, epochs: bool
) -> None:
    until("cached", lambda: cached(clustered))
    holder = cluster.owner(slot_of(GENERATION_KEY))
    dead = holder if epochs else next(one for one in cluster.masters if one is not holder)
    dead.kill()
    try:
        everybody_is_answered(clustered)  # while only some of the keys are lost
        cluster.wait_until("fail")
        everybody_is_answered(clustered)  # the others refuse to go on without it, as is the server's default
    finally:
        dead.start()
    cluster.wait_until("ok")
    until("cached again", lambda: cached(clustered), within=20)
    check_freshness(clustered)


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Watched]]:
    cache, state = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("state")
    with watched_redis(cache, *CACHE_ROLE) as one, watched_redis(state, *STATE_ROLE) as other:
        yield one, other


def test_after_a_failover_behind_sentinels_nothing_stale_is_served(
    watched: tuple[Watched, Watched], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache, state = watched
    home = tmp_path_factory.mktemp("on-sentinels")
    with gateway_stack(home, cache_redis_url=cache.url, state_redis_url=state.url, **QUICK) as stack:
        shop = open_shop(stack, unique("tenant"), unique("help"))
        check_freshness(shop)
        for one in (cache, state):
            one.master().kill()
            assert "nine days" in shop.answer()[0]  # nobody errs, whoever is the master
            until("cached again", lambda: cached(shop), within=20)
        shop.put("shipping", "Shipping times", "Parcels arrive within two days.")
        assert "two days" in shop.answer()[0]
        shop.openai.close()
        shop.http.close()
