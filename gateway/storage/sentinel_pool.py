"""Connections to whatever master the Sentinels name, with a bounded wait for a free one."""

from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from gateway.storage.redis_url import Address, RedisTarget


class BoundedSentinelPool(BlockingConnectionPool, SentinelConnectionPool):
    """A pool that waits, as for one server, over connections that ask the Sentinels where the master is."""

    @classmethod
    def of(cls, target: RedisTarget, *, timeout: float, connections: int, **options: Any) -> "BoundedSentinelPool":
        """``timeout`` (seconds) is shared by all Sentinels, so that the last is asked before callers give up."""
        share = max(timeout / (len(target.members) + 1), 0.02)
        own = {name: options[name] for name in ("socket_keepalive", "retry", "protocol")}
        own |= {"socket_timeout": share, "socket_connect_timeout": share} | target.sentinel
        encrypted = options.pop("connection_class", None) is SSLConnection
        if own.pop("connection_class", None) is SSLConnection:
            own["ssl"] = True
        return cls(
            service_name=target.service,
            sentinel_manager=Sentinel(target.members, sentinel_kwargs=own),  # type: ignore[no-untyped-call]
            connection_class=SentinelManagedSSLConnection if encrypted else SentinelManagedConnection,
            max_connections=connections,
            timeout=timeout,
            **options,
        )

    async def get_master_address(self) -> Address:
        """Of the master now. When it is another one, nobody goes on with the old one, which may not know it yet.

        Raises one of ``REDIS_TROUBLE`` when no Sentinel knows a master.
        """
        before = self.master_address
        address: Address = await super().get_master_address()  # type: ignore[no-untyped-call]
        if before not in (None, address):
            await super().disconnect(inuse_connections=True)
        return address

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """All of them, those to the Sentinels included; without ``inuse_connections``: the idle ones to the master."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()
