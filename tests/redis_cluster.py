"""A real Redis Cluster of a few masters, and a real Sentinel with a master and a replica, on loopback."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from redis import Redis

from tests.servers import READY_WITHIN, RedisServer, ServerDidNotStart, free_port, redis_executable, start_redis

SLOTS = 16_384
_BUS = 10_000
"""A node's bus listens this far above its port."""


class Cluster:
    """Masters that share all slots evenly; ``replicas`` follow them in the same order."""

    def __init__(self, masters: list[RedisServer], replicas: list[RedisServer]) -> None:
        self.masters = masters
        self.replicas = replicas

    @property
    def url(self) -> str:
        """Names all masters."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.masters)

    def owner(self, slot: int) -> RedisServer:
        """The master that had the slot at the start."""
        return self.masters[slot * len(self.masters) // SLOTS]

    def move_slot(self, slot: int, to: RedisServer, *, finish: bool = True) -> None:
        """Hand a slot and its keys over; without ``finish`` it stays on its way, all its keys being there already."""
        from_ = self.owner(slot)
        with _client(from_) as source, _client(to) as target:
            target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.execute_command("CLUSTER MYID"))
            source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.execute_command("CLUSTER MYID"))
            while keys := source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                source.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 1000, "KEYS", *keys)
            if finish:
                for server in (to, from_, *self.masters):
                    with _client(server) as one:
                        one.execute_command("CLUSTER SETSLOT", slot, "NODE", target.execute_command("CLUSTER MYID"))

    def wait_until(self, state: str) -> None:
        """``ok`` or ``fail``, in the eyes of every master that runs."""
        running = [server for server in self.masters if server.running]
        _until(lambda: all(_knows(server, f"cluster_state:{state}") for server in running))

    def wait_until_taken_over(self, slot: int) -> None:
        """Until the replica of the slot's owner has it, in the eyes of another master."""
        witness = next(server for server in self.masters if server is not self.owner(slot))
        port = self.owner(slot).port

        def taken() -> bool:
            with _client(witness) as redis:
                layout = redis.execute_command("CLUSTER NODES")
            return not any(address.endswith(f":{port}") and node["slots"] for address, node in layout.items())

        _until(taken)

    def crossed(self) -> bool:
        """Whether anybody has asked, since the start of any node, for keys of several slots at once."""
        return any(_says(server, "errorstats", "CROSSSLOT") for server in self.masters if server.running)

    def stop(self) -> None:
        for server in (*self.replicas, *self.masters):
            server.stop()


@contextlib.contextmanager
def redis_cluster(directory: Path, *arguments: str, masters: int = 3, replicas: int = 0) -> Iterator[Cluster]:
    """Returns when every node knows every slot. A node that does not answer for a second counts as down."""
    servers = [_node(directory / str(number), *arguments) for number in range(masters + replicas)]
    cluster = Cluster(servers[:masters], servers[masters:])
    try:
        bounds = [SLOTS * number // masters for number in range(masters + 1)]
        for server, first, last in zip(cluster.masters, bounds, bounds[1:], strict=False):
            with _client(server) as redis:
                redis.execute_command("CLUSTER ADDSLOTS", *range(first, last))
                redis.execute_command("CLUSTER SET-CONFIG-EPOCH", cluster.masters.index(server) + 1)
                if server is not servers[0]:
                    redis.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
        for server in cluster.replicas:
            with _client(server) as redis:
                redis.execute_command("CLUSTER MEET", "127.0.0.1", servers[0].port)
        met = ("cluster_state:ok", f"cluster_known_nodes:{len(servers)}")
        _until(lambda: all(_knows(server, *met) for server in servers))
        for server, master in zip(cluster.replicas, cluster.masters, strict=False):
            with _client(server) as redis, _client(master) as its:
                redis.execute_command("CLUSTER REPLICATE", its.execute_command("CLUSTER MYID"))
        for server in cluster.replicas:
            _until(partial(_says, server, "replication", "master_link_status:up"))
        yield cluster
    finally:
        cluster.stop()


class Watched:
    """A master and its replica under one Sentinel, whose word is enough."""

    def __init__(self, sentinel: RedisServer, servers: list[RedisServer]) -> None:
        self.sentinel = sentinel
        self.servers = servers

    @property
    def url(self) -> str:
        """The first of the Sentinels it names does not exist."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel.port}/yard/0"

    def master(self) -> RedisServer:
        with _client(self.sentinel) as redis:
            _, port = redis.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "yard")
        return next(server for server in self.servers if server.port == int(port))


@contextlib.contextmanager
def watched_redis(directory: Path, *arguments: str) -> Iterator[Watched]:
    """Returns when the replica follows and the Sentinel knows of it. A master that is silent for 300 ms is replaced."""
    with contextlib.ExitStack() as closing:
        master = start_redis(directory / "master", *arguments)
        closing.callback(master.stop)
        replica = start_redis(directory / "replica", *arguments, "--replicaof", "127.0.0.1", str(master.port))
        closing.callback(replica.stop)
        file = directory / "sentinel.conf"
        file.write_text(
            f"sentinel monitor yard 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds yard 300\nsentinel failover-timeout yard 3000\n"
        )
        sentinel = _Sentinel(directory / "sentinel", (str(file), "--sentinel"), free_port())
        sentinel.start()
        closing.callback(sentinel.stop)
        _until(lambda: _says(replica, "replication", "master_link_status:up"))
        _until(lambda: _says(sentinel, "sentinel", "slaves=1"))
        yield Watched(sentinel, [master, replica])


class _Sentinel(RedisServer):
    _ready = b"sentinel_masters:1"

    def _command(self) -> list[str]:
        file, *options = self._arguments
        return [redis_executable(), file, *options, "--port", str(self.port), "--bind", "127.0.0.1"]


def _node(directory: Path, *arguments: str) -> RedisServer:
    for _ in range(20):
        port = free_port()
        if port + _BUS < 65_000:
            with contextlib.suppress(ServerDidNotStart):
                return start_redis(
                    directory, *arguments, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", port=port
                )
    raise ServerDidNotStart("no port was free for a node of a cluster")


def _client(server: RedisServer) -> Redis:
    return Redis(port=server.port, socket_timeout=5)


def _knows(server: RedisServer, *facts: str) -> bool:
    with _client(server) as redis:
        told = redis.execute_command("CLUSTER INFO")
    return all(str(told.get(name)) == value for name, _, value in (fact.partition(":") for fact in facts))


def _says(server: RedisServer, section: str, fact: str) -> bool:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:  # a client parses it too well
        connection.sendall(f"INFO {section}\r\nQUIT\r\n".encode())
        return fact.encode() in b"".join(iter(lambda: connection.recv(65_536), b""))


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not true():
        if time.monotonic() > deadline:
            raise ServerDidNotStart("the servers did not agree in time")
        time.sleep(0.02)
