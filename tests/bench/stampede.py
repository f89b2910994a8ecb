"""Everybody asks the same at once, on an empty cache, over several workers: how often is the upstream asked?

Also with the worker that asks killed half-way. Who was connected to it asks another worker, once, as an SDK would.
"""

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import redis
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from gateway.types import KeyLimits
from tests.bench.connection import Connection, Exchange, post_request
from tests.bench.load import quantile
from tests.bench.stage import Stage, stage, start_upstream

CALLERS = 1_000
WORKERS = 4
NO_MINUTE = KeyLimits(requests_per_minute=10_000_000, tokens_per_minute=1_000_000_000)


class Case(Struct, frozen=True):
    """One stampede. ``question`` is its own: every one finds an empty cache."""

    name: str
    question: str
    streamed: bool = False
    kill: bool = False


class Outcome(Struct):
    upstream_calls: int = 0
    errors: int = 0
    seconds: float = 0.0
    lag_ms: float = 0.0
    """How much later than the first caller the last one had its whole answer."""


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long the upstream takes."""
    cases = [
        Case("whole answers", "a"),
        Case("streams", "b", streamed=True),
        Case("whole answers, leader killed", "c", kill=True),
        Case("streams, leader killed", "d", streamed=True, kill=True),
    ]
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        provider, _ = start_upstream(closing, seconds * 1000)
        here = closing.enter_context(stage(folder, provider))
        with console.status("stampede"):
            outcomes = {case.name: stampede(here, provider, case, CALLERS, WORKERS) for case in cases}
    _print(outcomes, console)
    violations = [
        f"{case.name}: {outcomes[case.name].upstream_calls} upstream calls, {outcomes[case.name].errors} errors"
        for case in cases
        if outcomes[case.name].upstream_calls > 1 + case.kill or outcomes[case.name].errors
    ]
    return {
        name: {field: getattr(one, field) for field in Outcome.__struct_fields__} for name, one in outcomes.items()
    } | {"violations": violations}


def stampede(here: Stage, provider: str, case: Case, callers: int, workers: int) -> Outcome:
    """One case on workers that are started for it (a killed one is not replaced)."""
    key = here.key(f"tenant-{case.question}", NO_MINUTE)
    urls = [here.start_gateway(f"gateway {case.question}{number}") for number in range(workers)]
    before = _calls(provider)
    outcome = uvloop.run(_rush(here, case, urls, key, callers))
    outcome.upstream_calls = _calls(provider) - before
    for name in [name for name in here.programs if name.startswith(f"gateway {case.question}")]:
        here.programs.pop(name).terminate()
    return outcome


async def _rush(here: Stage, case: Case, urls: list[str], key: str, callers: int) -> Outcome:
    body = {"model": "gpt-4.1-mini", "temperature": 0, "messages": [{"role": "user", "content": case.question * 9}]}
    payload = json.dumps(body | ({"stream": True} if case.streamed else {})).encode()
    headers = {"authorization": f"Bearer {key}"}
    requests = {url: post_request(f"{url}/v1/chat/completions", headers, payload) for url in urls}
    begun = time.perf_counter()
    waiting = [
        asyncio.create_task(_persistent(requests, [urls[n % len(urls)], urls[(n + 1) % len(urls)]]))
        for n in range(callers)
    ]
    if case.kill:
        await asyncio.to_thread(_kill_leader, here)
    exchanges = await asyncio.gather(*waiting)
    expected = (case.question * 9).encode()
    ending = b"data: [DONE]\n\n" if case.streamed else b"}"
    good = [one for one in exchanges if one.status == 200 and expected in one.body and one.body.endswith(ending)]
    ends = [one.ended for one in good]
    return Outcome(
        errors=len(exchanges) - len(good),
        seconds=time.perf_counter() - begun,
        lag_ms=(quantile(ends, 1.0) - min(ends)) * 1000 if ends else 0.0,
    )


async def _persistent(requests: dict[str, bytes], urls: list[str]) -> Exchange:
    exchange = Exchange(time.perf_counter())
    for url in urls:
        exchange = await _ask(url, requests[url])
        if exchange.status:
            break
    return exchange


async def _ask(url: str, request: bytes) -> Exchange:
    over: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    try:
        connection = await Connection.open(url, lambda _, exchange: over.done() or over.set_result(exchange))
    except OSError:
        return Exchange(time.perf_counter())
    try:
        connection.ask(request)
        async with asyncio.timeout(60):
            return await over
    except TimeoutError:
        return Exchange(time.perf_counter())
    finally:
        connection.close()


def _kill_leader(here: Stage) -> None:
    """When everybody waits: the lease says which process works."""
    client = redis.Redis.from_url(here.settings.cache_redis_url, socket_timeout=5)
    with contextlib.closing(client):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for name in client.scan_iter("py:f:*"):
                held = client.get(name) if client.type(name) == b"string" else None
                if held and held != b"landed" and int(client.scard(name + b":w")) > 0:  # type: ignore[arg-type]
                    time.sleep(0.2)
                    pid = next(p.pid for p in here.programs.values() if f"-{p.pid}-".encode() in held)
                    os.kill(pid, signal.SIGKILL)
                    return
            time.sleep(0.01)
    raise AssertionError("nobody held a lease that others wait for")


def _calls(provider: str) -> int:
    return int(httpx.get(f"{provider}/calls", timeout=10).text)


def _print(outcomes: dict[str, Outcome], console: Console) -> None:
    table = Table(title=f"{CALLERS} identical calls at once, {WORKERS} workers, empty cache")
    for column in ("", "upstream calls", "errors", "seconds", "last after first (ms)"):
        table.add_column(column, justify="right" if column else "left")
    for name, one in outcomes.items():
        table.add_row(name, str(one.upstream_calls), str(one.errors), f"{one.seconds:.2f}", f"{one.lag_ms:.0f}")
    console.print(table)
