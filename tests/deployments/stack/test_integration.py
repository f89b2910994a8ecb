"""The two real Redis servers of the table, with a stand-in for what comes after them."""

import os

import pytest
import redis

from deployments.stack.choices import find_redis_server
from deployments.stack.home import StackHome
from deployments.stack.lifecycle import Plan, StopRequest, run_stack
from deployments.stack.local import plan_local_stack
from deployments.stack.ports import PortBook
from deployments.stack.state import Phase, StackState
from gateway.settings import Settings
from tests.deployments.stack.conftest import processes_of
from tests.deployments.stack.tiny_services import steady

pytestmark = pytest.mark.integration


def test_both_redis_servers_come_up_with_their_policies_and_go(home: StackHome) -> None:
    seen: dict[str, tuple[str, str]] = {}
    stop = StopRequest()

    def plan(ports: PortBook) -> Plan:
        whole = plan_local_stack(Settings(home=home.root), home, ports, force_simulator=True)
        servers = [service for service in whole.services if service.name.endswith("redis")]
        stand_in = steady("gateway", after=("cache-redis", "state-redis"))
        return Plan([*servers, stand_in], whole.environ, whole.environment, whole.urls, directory=home.root)

    def watch(state: StackState) -> None:
        if state.phase is not Phase.READY or seen:
            return
        for name in ("cache_redis", "state_redis"):
            with redis.Redis.from_url(state.urls[name], socket_timeout=2.0) as client:
                policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
                seen[name] = (policy, client.config_get("appendonly")["appendonly"])
        stop.ask()

    run_stack(home, plan, watch, stop)
    assert seen == {"cache_redis": ("allkeys-lru", "no"), "state_redis": ("noeviction", "yes")}
    assert processes_of(home) == []
    assert (home.root / "state-redis" / "appendonly.aof").exists()


def test_a_redis_server_is_found_here() -> None:
    assert find_redis_server().name == "redis-server"
    assert os.access(find_redis_server(), os.X_OK)
