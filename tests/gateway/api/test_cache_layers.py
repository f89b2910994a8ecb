"""Each answer says which layer gave it and why the others did not; what is kept is true on every worker."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from msgspec.structs import replace

from gateway.app import create_app
from gateway.compose import compose
from gateway.http_server import BoundedHttp
from gateway.types import CachePlace, CachePolicy, LayerPolicy, SemanticMode, SemanticPolicy
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, gateway_stack, prompt_version, unique
from tests.server_thread import ServerThread, listen

NO_SEMANTIC = SemanticPolicy(mode=SemanticMode.OFF)
NEAR = CachePolicy(local=LayerPolicy(on=True, ttl=30.0), semantic=NO_SEMANTIC)


def open_with(stack: Stack, policy: CachePolicy) -> Shop:
    tenant, prompt = unique("tenant"), unique("help")
    stack.add(prompt_version(tenant, prompt, cache=policy))
    key = stack.key(tenant)
    shop = Shop(stack, tenant, prompt, key, stack.openai(key), stack.http(key))
    shop.put("shipping", "Shipping times", "Parcels arrive within three days.")
    return shop


def told(shop: Shop, **more: Any) -> tuple[str, dict[str, str]]:
    cache = shop.ask(**more).raise_for_status().json()["promptyard"]["cache"]
    return cache["layer"], cache["reasons"]


def test_a_prompt_with_a_memory_of_its_own_in_front(stack: Stack) -> None:
    shop = open_with(stack, NEAR)
    below = {"semantic": "off", "embedding": "unneeded", "context": "unneeded"}
    assert told(shop) == ("none", {"local": "miss", "exact": "miss", **below})
    assert told(shop) == ("exact", {"local": "miss", "exact": "hit"})
    assert told(shop) == ("local", {"local": "hit"})
    shop.put("shipping", "Shipping times", "Parcels arrive within two days.")
    layer, reasons = told(shop)
    assert (layer, reasons["local"], reasons["exact"]) == ("none", "epoch", "epoch")
    assert "two days" in shop.answer()[0]
    stories = stack.calls(shop.tenant)
    assert [story.layer for story in stories][:3] == ["none", "exact", "local"]


def test_a_prompt_that_keeps_its_answers_in_the_process_alone(stack: Stack) -> None:
    shop = open_with(stack, replace(NEAR, place=CachePlace.PROCESS))
    layer, reasons = told(shop)
    assert (layer, reasons["local"], "exact" in reasons) == ("none", "miss", False)
    assert told(shop) == ("local", {"local": "hit"})
    assert told(shop, promptyard={"cache": "bypass"})[0] == "none"
    explained = shop.http.get(f"/v1/calls/{_shipped(shop)}").json()["cache"]
    assert (explained["layer"], explained["reasons"]) == ("local", {"local": "hit"})


def test_each_layer_is_counted(stack: Stack) -> None:
    shop = open_with(stack, NEAR)
    for _ in range(3):
        told(shop)
    shown = shop.http.get("/metrics").text
    for counted in ('layer="local",outcome="miss"', 'layer="local",outcome="hit"', 'layer="exact",outcome="hit"'):
        assert f"promptyard_cache_lookups_total{{{counted}}}" in shown
    assert 'promptyard_cache_lookup_seconds_count{layer="local"}' in shown
    lines = [line.split() for line in shown.splitlines() if line.startswith("promptyard_cache_local_")]
    held = {name: float(value) for name, value in lines}
    assert held["promptyard_cache_local_entries"] >= 1
    assert held["promptyard_cache_local_bytes"] > 500


def test_a_change_that_leaves_the_grounding_is_said_to_be_revalidated(stack: Stack) -> None:
    shop = open_with(stack, NEAR)
    told(shop)
    shop.put("returns", "Returns", "Thirty days for everything that was never worn.")
    layer, reasons = told(shop)
    assert (layer, reasons["exact"]) == ("exact", "revalidated")


@pytest.fixture
def second(stack: Stack) -> Iterator[str]:
    """The address of another gateway over the same Redis and SQL, with a memory and an event loop of its own."""
    config = uvicorn.Config(create_app(stack.settings), http=BoundedHttp, log_level="warning", access_log=False)
    server = ServerThread(uvicorn.Server(config), listen())
    server.start()
    yield server.url
    server.stop()


@pytest.mark.integration
@pytest.mark.parametrize("place", list(CachePlace))
def test_what_was_removed_by_a_third_process_no_gateway_serves(stack: Stack, second: str, place: CachePlace) -> None:
    shop = open_with(stack, replace(NEAR, place=place, tags=("prices",)))
    other = through(shop, second)
    for gateway in (shop, other):
        for _ in range(3):
            told(gateway)
        assert told(gateway)[0] == "local"

    async def cut() -> None:
        remover = compose(stack.settings, role="test")
        try:
            await remover.cuts.cut(shop.tenant, tag="prices")
        finally:
            await remover.close()

    asyncio.run(cut())
    for gateway in (shop, other):
        layer, reasons = told(gateway)
        assert reasons["local"] == "removed"
        # The first one's new answer may be in Redis by then.
        assert layer == "none" or (gateway is other and place is CachePlace.SHARED and layer == "exact")
    other.http.close()


def through(shop: Shop, url: str) -> Shop:
    http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {shop.key}"}, timeout=30)
    return Shop(shop.stack, shop.tenant, shop.prompt, shop.key, shop.openai, http)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway whose embedder is a provider's."""
    with gateway_stack(tmp_path_factory.mktemp("remote"), embedder="openai") as running:
        yield running


@pytest.mark.integration
def test_a_remote_embedder_is_asked_once_for_a_question(remote: Stack) -> None:
    shop = open_with(remote, CachePolicy(semantic=NO_SEMANTIC))
    before = remote.simulator.calls()
    assert told(shop)[1] == {"exact": "miss", "semantic": "off", "context": "miss", "embedding": "miss"}
    assert remote.simulator.calls() == before + 2  # the vector and the answer
    # Another temperature is another answer to the same question.
    assert told(shop, temperature=0.0, max_tokens=50)[1]["context"] == "hit"
    assert remote.simulator.calls() == before + 3
    shop.put("returns", "Returns", "Thirty days.")
    after = remote.simulator.calls()
    layer, reasons = told(shop)
    assert (reasons["context"], reasons["embedding"]) == ("miss", "hit")
    assert remote.simulator.calls() == after + (layer == "none")
    other = open_with(remote, CachePolicy(semantic=NO_SEMANTIC))
    assert told(other)[1]["embedding"] == "miss"


def _shipped(shop: Shop) -> str:
    call_id = str(shop.ask().json()["id"])
    shop.stack.ship()
    return call_id
