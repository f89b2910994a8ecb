"""What is broken in turn, how it is mended, and what callers may see of it."""

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.providers.breaking import PATIENCE
from tests.bench.processes import get, workers
from tests.bench.stage import Stage
from tests.chaos.outcomes import Kind, Outcome
from tests.databases import out_of_reach
from tests.servers import RedisServer

FIRST = "openai"
"""The first provider of every chain."""
_BACK_WITHIN = 120.0
_THINKING_MS = 700


@dataclass(frozen=True)
class Fault:
    """``broken`` breaks something and mends it, and may block. What callers may see besides right answers is named.

    ``shows``: what some caller must see, or the fault was none.
    """

    name: str
    broken: Callable[[], contextlib.AbstractContextManager[None]]
    shows: Callable[[Outcome], bool]
    kinds: Collection[Kind] = ()
    codes: Collection[str] = ()
    at_least: float = 0.0
    """Seconds that it must last to be one."""

    def allows(self, outcome: Outcome) -> bool:
        return outcome.kind in self.kinds and (not self.codes or outcome.detail in self.codes)


def all_faults(here: Stage, simulator: str, gateway: str) -> list[Fault]:
    """Errors are allowed only where every provider is down, on streams that had begun, on a dead worker's connections,
    and where an acknowledged change of a document cannot be read."""

    def first(name: str, rule: Mapping[str, Any], **more: Any) -> Fault:
        more = {"shows": lambda outcome: outcome.tries > 1} | more
        return Fault(name, lambda: _providers(simulator, {"scope": {"provider": FIRST}, **rule}), **more)

    return [
        first("first provider down", {"outage": True}),
        Fault(
            "every provider down",
            lambda: _providers(simulator, {"outage": True}),
            shows=lambda outcome: outcome.kind is Kind.REFUSED,
            kinds={Kind.REFUSED},
            codes={"all_providers_failed"},
            at_least=PATIENCE + 1.0,  # calls outlive a shorter one
        ),
        first("30 % errors", {"error_rate": 0.3}),
        first("first provider hangs", {"hang": True}),
        first("rate limited", {"rate_limit_per_minute": 10}),
        first(
            "streams cut",
            {"cut_after_chunks": 2},
            shows=lambda outcome: outcome.kind is Kind.CUT,
            kinds={Kind.CUT},
            codes={"stream_interrupted"},
        ),
        Fault(
            "cache Redis killed",
            lambda: _killed(here.cache_redis),
            shows=lambda outcome: outcome.reason == "unavailable",
        ),
        Fault("state Redis killed", lambda: _killed(here.state_redis), shows=lambda outcome: outcome.reason == "epoch"),
        Fault(
            "SQL away",
            lambda: _sql_away(here),
            shows=lambda outcome: outcome.kind is Kind.ANSWERED,
            # A worker that has not read an acknowledged change yet refuses rather than answer from before it.
            kinds={Kind.REFUSED},
            codes={"storage_unavailable"},
        ),
        Fault(
            "worker killed",
            lambda: _worker_killed(here, simulator, gateway),
            shows=lambda outcome: outcome.kind is Kind.BROKEN,
            kinds={Kind.BROKEN},
        ),
    ]


@contextlib.contextmanager
def _providers(simulator: str, *rules: Mapping[str, Any]) -> Iterator[None]:
    def put(value: Collection[Mapping[str, Any]]) -> None:
        httpx.put(f"{simulator}/admin/faults", json={"rules": value}, timeout=10).raise_for_status()

    put(rules)
    try:
        yield
    finally:
        put(())


@contextlib.contextmanager
def _killed(server: RedisServer) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextlib.contextmanager
def _sql_away(here: Stage) -> Iterator[None]:
    """A server lets nobody in and ends what is going on; a file is locked for all who write."""
    if not here.settings.sql_url.startswith("sqlite"):
        with out_of_reach(here.settings.sql_url):
            yield
        return
    path = here.settings.sql_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextlib.contextmanager
def _worker_killed(here: Stage, simulator: str, gateway: str) -> Iterator[None]:
    """In the middle of calls; until its parent has another one that answers."""
    parent = here.programs["gateway"].pid
    before = workers(parent)
    with _providers(simulator, {"latency_ms": _THINKING_MS}):
        time.sleep(_THINKING_MS / 1000)
        os.kill(max(before, key=_sockets), signal.SIGKILL)  # connections are spread by chance
    yield
    instances: set[str] = set()
    deadline = time.monotonic() + _BACK_WITHIN
    while workers(parent) == before or len(instances) < len(before):
        assert time.monotonic() < deadline, "no new worker answers"
        if set(workers(parent)) != set(before) and (answer := get(f"{gateway}/readyz", timeout=10)) is not None:
            instances.add(json.loads(answer[1])["instance"])
        time.sleep(0.05)


def _sockets(pid: int) -> int:
    return sum(_is_socket(descriptor) for descriptor in Path(f"/proc/{pid}/fd").iterdir())


def _is_socket(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor).startswith("socket:")
    except FileNotFoundError:  # closed since it was listed
        return False
