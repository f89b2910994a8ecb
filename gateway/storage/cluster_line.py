"""A line to a cluster: what is asked in one tick goes out in one write to each node that it concerns.

There is a ``RedisLine`` to each node that is asked. The layout may change: MOVED and ASK are obeyed a bounded number
of times; whatever else goes wrong is told to the caller, and the layout is learned anew beside the calls.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import AskError, ClusterDownError, MovedError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.storage.cluster_client import BoundedCluster, slot_of
from gateway.storage.redis_connection import GENERATION_KEY, REDIS_TROUBLE
from gateway.storage.redis_line import MAX_WAITING, Argument, RedisLine, Script
from gateway.storage.redis_url import Address

MAX_REDIRECTS = 3
LOOK_SECONDS = 5.0
"""How long one look at the layout may take: several nodes may have to be asked, each for the time-out."""
LOOK_EVERY = 1.0
"""Seconds between looks, of a line that is guarded: an old master that wakes up does not know that it was replaced."""
_PAUSE = 0.2
"""Seconds between the end of a look and the next, however many commands fail."""
_EPOCH_SLOT = slot_of(GENERATION_KEY)
_CHANGED = (ClusterDownError, RedisConnectionError, RedisTimeoutError, OSError, asyncio.TimeoutError)

Future = asyncio.Future[Any]


class _Errand:
    __slots__ = ("answer", "by", "command", "redirects", "slot")

    def __init__(
        self, slot: int, by: Callable[[RedisLine], Future], command: Sequence[Argument], answer: Future
    ) -> None:
        self.slot = slot
        self.by = by
        self.command = command
        self.answer = answer
        self.redirects = 0


class _Node:
    def __init__(self, client: Redis, line: RedisLine) -> None:
        self.client = client
        self.line = line


class ClusterLine:
    """As ``RedisLine``, for commands whose first argument is their key and for scripts whose keys are of one slot.

    ``timeout`` (seconds) bounds each exchange, of which a command takes at most ``MAX_REDIRECTS`` + 1.
    """

    def __init__(self, cluster: BoundedCluster, *, timeout: float) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._nodes: dict[Address, _Node] = {}
        self._epochs_at: Address | None = None
        self._waiting: list[_Errand] = []
        self._looking: asyncio.Task[None] | None = None
        self._looked = float("-inf")
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        cluster.closing.append(self._aclose)

    def ask(self, *command: Argument) -> Future:
        """The reply to come. It raises one of ``REDIS_TROUBLE``; an error that Redis replies with is among them."""
        key = command[1] if len(command) > 1 else b""
        return self._set_out(key, lambda line: line.ask(*command), command)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, hurried: bool = True) -> Future:
        """As ``ask``, for a script with at least one key; one that a node does not know yet is sent along."""
        command = ("EVAL", script.text, len(keys), *keys, *args)
        return self._set_out(keys[0], lambda line: line.run(script, keys, args, hurried=hurried), command)

    def _set_out(self, key: Argument, by: Callable[[RedisLine], Future], command: Sequence[Argument]) -> Future:
        answer: Future = asyncio.get_running_loop().create_future()
        if self._watching is None and self._cluster.guarded:
            self._watching = self._start(self._watch())
        slot = slot_of(key if isinstance(key, bytes | str) else str(key))
        errand = _Errand(slot, by, command, answer)
        address = self._cluster.address_of(slot)
        if address is not None:
            self._send(errand, address)
        elif len(self._waiting) >= MAX_WAITING:
            answer.set_exception(RedisConnectionError("too many commands wait for the cluster"))
        elif self._look():
            self._waiting.append(errand)
        else:
            answer.set_exception(RedisConnectionError("no node of the cluster is known to have this key"))
        return answer

    def _send(self, errand: _Errand, address: Address) -> None:
        if errand.slot == _EPOCH_SLOT and address != self._epochs_at:
            # Connections from before it had the epochs have not been guarded: see ``redis_connection``.
            self._epochs_at = address
            self._leave(address)
        errand.by(self._node(address).line).add_done_callback(lambda reply: self._arrived(errand, address, reply))

    def _arrived(self, errand: _Errand, address: Address, reply: Future) -> None:
        if reply.cancelled():
            errand.answer.cancel()
            return
        trouble = reply.exception()
        if errand.answer.done():  # its caller has left
            return
        if trouble is None:
            errand.answer.set_result(reply.result())
            return
        if isinstance(trouble, AskError) and errand.redirects < MAX_REDIRECTS:  # MOVED is one of them
            errand.redirects += 1
            there = trouble.host or address[0], int(trouble.port)
            if isinstance(trouble, MovedError):
                self._look()
                self._send(errand, there)
            else:
                self._start(self._ask_there(errand, there))
            return
        if isinstance(trouble, _CHANGED):
            self._look()
        errand.answer.set_exception(trouble)

    async def _ask_there(self, errand: _Errand, address: Address) -> None:
        """A slot is on its way to this node, which takes its commands only if told right before each."""
        try:
            async with asyncio.timeout(self._timeout):
                pipe: Any = self._node(address).client.pipeline(transaction=False)
                pipe.execute_command("ASKING")
                pipe.execute_command(*errand.command)
                _, reply = await pipe.execute(raise_on_error=False)
        except REDIS_TROUBLE as trouble:
            reply = trouble
        if errand.answer.done():
            return
        if isinstance(reply, Exception):
            errand.answer.set_exception(reply)
        else:
            errand.answer.set_result(reply)

    def _look(self) -> bool:
        """Learn the layout anew, beside the calls; whether that is under way now."""
        if self._looking is None and asyncio.get_running_loop().time() - self._looked >= _PAUSE:
            self._looking = self._start(self._look_around())
        return self._looking is not None

    async def _look_around(self) -> None:
        known: Exception = RedisConnectionError("the cluster's layout is not known")
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._cluster.look_again()
        except REDIS_TROUBLE as trouble:
            known = trouble
        finally:
            self._looking = None
            self._looked = asyncio.get_running_loop().time()
            waiting, self._waiting = self._waiting, []
            for errand in waiting:
                address = self._cluster.address_of(errand.slot)
                if errand.answer.done():
                    continue
                if address is None:
                    errand.answer.set_exception(known)
                else:
                    self._send(errand, address)

    async def _watch(self) -> None:
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                self._look()
        finally:
            self._watching = None

    def _node(self, address: Address) -> _Node:
        node = self._nodes.get(address)
        if node is None:
            client = self._cluster.client_of(address)
            node = self._nodes[address] = _Node(client, RedisLine(client, timeout=self._timeout))
        return node

    def _leave(self, address: Address) -> None:
        node = self._nodes.pop(address, None)
        if node is not None:
            self._start(node.client.aclose())

    def _start(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.client.aclose()
