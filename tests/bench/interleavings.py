"""10,000 interleavings of readers, writers, removals, time and dying servers: the long version of
``tests/gateway/cache/test_freshness_machine.py``, and how many it takes to find a stale answer without a check.
"""

import contextlib
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.cache.exact import ExactCache
from gateway.settings import Settings
from gateway.storage.engine import make_engine
from gateway.storage.models import Base
from tests.freshness.machine import (
    CutsNotLookedAt,
    EpochNotLookedAt,
    Interleavings,
    KeptUnderTheEpochOfTheWrite,
    explore,
)
from tests.freshness.seams import Gate, Server
from tests.freshness.world import StaleAnswer
from tests.servers import CACHE_ROLE, STATE_ROLE, start_redis

ENOUGH = 10_000
PROCESSES = 2
_AT_ONCE = 50
_WEAKENED = (EpochNotLookedAt, KeptUnderTheEpochOfTheWrite, CutsNotLookedAt)


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long it may take; it ends with the 10,000th interleaving."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        weakened = dict(
            zip((one.__name__ for one in _WEAKENED), pool.map(_until_found, _WEAKENED, [seconds] * 3), strict=True)
        )
        begun = time.monotonic()
        parts = list(pool.map(_explored, [ENOUGH // PROCESSES] * PROCESSES, [seconds] * PROCESSES))
    count, served = sum(part["count"] for part in parts), sum(part["served"] for part in parts)
    stale = [one for part in parts for one in part["stale"]]
    layers: Counter[str] = Counter(layer for part in parts for layer in part["layers"])
    violations = [f"stale: {one}" for one in stale]
    violations += [f"{name}: nothing was found" for name, found in weakened.items() if not found["stale"]]
    if count < ENOUGH:
        violations.append(f"only {count:,} interleavings within {seconds:g} s")
    _print(count, served, len(stale), sorted(layers), weakened, time.monotonic() - begun, console)
    return {"interleavings": count, "served": served, "stale": stale, "weakened": weakened, "violations": violations}


def _explored(enough: int, seconds: float) -> dict[str, Any]:
    with _machine(ExactCache) as machine:
        stale = _explore(machine, enough, time.monotonic() + seconds)
    return {"count": machine.count, "served": machine.served, "layers": sorted(machine.layers), "stale": stale}


def _until_found(weakened: type[ExactCache], seconds: float) -> dict[str, Any]:
    with _machine(weakened) as machine:
        stale = _explore(machine, ENOUGH, time.monotonic() + seconds)
    return {"count": machine.count, "stale": stale}


def _explore(machine: type[Interleavings], enough: int, deadline: float) -> list[str]:
    while machine.count < enough and time.monotonic() < deadline:
        try:
            explore(machine, _AT_ONCE, drawn=True)
        except StaleAnswer as found:
            return [str(found)]
    return []


@contextlib.contextmanager
def _machine(exact: type[ExactCache]) -> Iterator[type[Interleavings]]:
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        servers = []
        gate = Gate()
        for role in (STATE_ROLE, CACHE_ROLE):
            server = start_redis(folder / str(len(servers)), *role)
            closing.callback(server.stop)
            servers.append(Server(server.url, gate))
            closing.callback(servers[-1].close)
        engine = make_engine("sqlite://")
        Base.metadata.create_all(engine)
        shared = {"engine": engine, "settings": Settings.model_validate({"home": folder}), "gate": gate}
        yield type(
            exact.__name__, (Interleavings,), {"exact": exact, "state": servers[0], "entries": servers[1], **shared}
        )


def _print(
    count: int, served: int, stale: int, layers: list[str], weakened: dict[str, Any], took: float, console: Console
) -> None:
    table = Table(title=f"interleavings of two workers, in {took:.0f} s")
    for column in ("cache", "interleavings", "stale answers"):
        table.add_column(column)
    table.add_row(f"as it is ({served:,} answers)", f"{count:,}", str(stale))
    for name, found in weakened.items():
        table.add_row(name, f"{found['count'] + 1:,}", found["stale"][0] if found["stale"] else "none")
    console.print(table)
    console.print(f"answers came from: {', '.join(layers)}", markup=False)
