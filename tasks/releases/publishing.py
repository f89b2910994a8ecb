"""Set, then verify: push the routing table and wait until every live gateway serves by it."""

import asyncio
from dataclasses import dataclass

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.prompts.projection import write_routing
from gateway.prompts.routing_store import RoutingStore
from gateway.settings import Settings
from gateway.storage.engine import writing
from gateway.storage.redis_store import connect
from gateway.types import RoutingTable

SLACK = 0.5
"""Seconds beyond the life of a heartbeat."""


@dataclass(frozen=True)
class Publication:
    """Whether a revision has reached everybody. ``behind``: revision by gateway of those that it has not."""

    revision: int
    live: int
    behind: dict[str, int]
    problem: str = ""

    @property
    def verified(self) -> bool:
        return not self.behind and not self.problem


def publish(settings: Settings, table: RoutingTable, *, patience: float | None = None) -> Publication:
    """Push a table and wait up to ``patience`` seconds. Never raises: a gateway also finds the table in SQL.

    By default as long as a gateway that died a moment ago is taken for a live one: who is still behind then lives.
    """
    return asyncio.run(_publish(settings, table, settings.heartbeat_ttl + SLACK if patience is None else patience))


async def _publish(settings: Settings, table: RoutingTable, patience: float) -> Publication:
    redis = connect(settings.state_redis_url, timeout=max(settings.redis_timeout, 1.0), connections=4)
    store = RoutingStore(redis)
    try:
        await store.publish(table)
        behind = await store.wait_until_live(table.revision, patience=patience)
        return Publication(table.revision, len(await store.live()), dict(behind))
    except StorageUnavailable as error:
        return Publication(table.revision, 0, {}, problem=error.message)
    finally:
        await redis.aclose()


def repair(engine: Engine, clock: Clock, settings: Settings, *, patience: float | None = None) -> Publication:
    """Make the projection agree with the rows again, and everybody with the projection. Idempotent."""
    with writing(engine) as session:
        table = write_routing(session, clock)
    return publish(settings, table, patience=patience)
