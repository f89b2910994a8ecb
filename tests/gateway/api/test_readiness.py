"""``/readyz`` warns of a Redis that is set up for something else, and stays ``ok``: such a gateway answers."""

import pytest
from redis import Redis

from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack

pytestmark = pytest.mark.integration


def warnings(shop: Shop) -> list[str]:
    told = shop.http.get("/readyz").raise_for_status().json()
    assert told["status"] == "ok"
    return list(told["warnings"])


def test_as_they_should_be_there_is_nothing_to_say(shop: Shop) -> None:
    assert warnings(shop) == []


def test_a_cache_that_refuses_instead_of_evicting_is_said(stack: Stack, shop: Shop) -> None:
    with Redis(port=stack.cache_redis.port) as redis:
        redis.config_set("maxmemory-policy", "noeviction")
        try:
            (warning,) = warnings(shop)
        finally:
            redis.config_set("maxmemory-policy", "allkeys-lru")
    assert "refuses new answers" in warning


def test_a_state_that_evicts_is_said(stack: Stack, shop: Shop) -> None:
    with Redis(port=stack.state_redis.port) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            (warning,) = warnings(shop)
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in warning
