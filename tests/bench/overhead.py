"""What the gateway adds to an upstream, at one connection: calls through it, past it, and through a peer that does
nothing but make the call (``peer.py``), one after the other. The peer says what a millisecond is on this machine.
"""

import asyncio
import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.connection import Caller, Exchange, post_request
from tests.bench.load import quantile
from tests.bench.stage import NEVER_REACHED, stage, start_upstream
from tests.servers import free_port

UPSTREAM_MS = 10.0
PEER = "FastAPI, openai SDK"
WARM_UP = 30
TARGETS_MS = {"p50": 1.5, "p99": 5.0, "first token p50": 3.0}


@dataclass
class Way:
    """One way to the same upstream. Milliseconds of whole answers, and until the first byte of streams."""

    name: str
    url: str
    whole: bytes
    streamed: bytes = b""
    """Empty: streams are not measured."""
    whole_ms: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    errors: int = 0
    caller: Caller = field(default_factory=Caller)


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds`` for whole answers, and as long again for streams."""
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        provider, _ = start_upstream(closing, UPSTREAM_MS)
        here = closing.enter_context(stage(folder, provider))
        here.start_ledger_writer()
        gateway = here.start_gateway(env=here.start_trace_sink())
        key = here.key("bench", NEVER_REACHED)
        peer_port = free_port()
        peer = f"http://127.0.0.1:{peer_port}"
        here.start(
            "peer",
            "tests.bench.peer",
            str(peer_port),
            here.settings.cache_redis_url,
            f"{provider}/v1",
            health=f"{peer}/docs",
        )
        ways = [_way("upstream", provider, "-"), _way("gateway", gateway, key), _peer(peer)]
        with console.status("overhead"):
            uvloop.run(_measure(ways, seconds))
    figures = _figures(ways)
    _print(figures, console)
    return figures


def _way(name: str, server: str, key: str) -> Way:
    url = f"{server}/v1/chat/completions"
    headers = {"authorization": f"Bearer {key}"}

    def request(**more: Any) -> bytes:
        messages = [{"role": "user", "content": "Question %09d"}]
        body = {"model": "gpt-4.1-mini", "messages": messages, "temperature": 0, **more}
        return post_request(url, headers, json.dumps(body).encode())

    return Way(name, url, request(), request(stream=True))


def _peer(server: str) -> Way:
    url = f"{server}/ask"
    body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Question %09d"}], "temperature": 0}
    return Way(PEER, url, post_request(url, {}, json.dumps(body).encode()))


async def _measure(ways: list[Way], seconds: float) -> None:
    numbers = itertools.count(1)
    for streamed in (False, True):
        begun = time.perf_counter()
        warm_up = WARM_UP
        while time.perf_counter() - begun < seconds or warm_up > 0:
            number = next(numbers)
            for way in ways:
                if streamed and not way.streamed:
                    continue
                exchange = await way.caller.ask(way.url, (way.streamed if streamed else way.whole) % number)
                if warm_up <= 0:
                    _note(way, exchange, streamed, b"Question %09d" % number)
            warm_up -= 1
    for way in ways:
        way.caller.close()
    await asyncio.sleep(0)


def _note(way: Way, exchange: Exchange, streamed: bool, expected: bytes) -> None:
    if exchange.status != 200 or expected not in exchange.body:
        way.errors += 1
    elif streamed:
        way.first_token_ms.append((exchange.first_byte - exchange.begun) * 1000)
    else:
        way.whole_ms.append((exchange.ended - exchange.begun) * 1000)


def _figures(ways: list[Way]) -> dict[str, Any]:
    figures: dict[str, Any] = {
        way.name: {
            "calls": len(way.whole_ms),
            "p50": quantile(way.whole_ms, 0.5),
            "p99": quantile(way.whole_ms, 0.99),
            "streams": len(way.first_token_ms),
            "first token p50": quantile(way.first_token_ms, 0.5) if way.streamed else None,
            "first token p99": quantile(way.first_token_ms, 0.99) if way.streamed else None,
            "errors": way.errors,
        }
        for way in ways
    }
    direct, through, peer = (figures[way.name] for way in ways)
    names = ("p50", "p99", "first token p50", "first token p99")
    figures["over"] = {name: through[name] - direct[name] for name in names}
    figures["peer over"] = {name: peer[name] - direct[name] for name in ("p50", "p99")}
    figures["targets_ms"] = TARGETS_MS
    return figures


def _print(figures: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"overhead at one connection, milliseconds; upstream (lean) answers in {UPSTREAM_MS:g} ms")
    for column in ("", "calls", "p50", "p99", "streams", "first token p50", "first token p99", "errors"):
        table.add_column(column, justify="right" if column else "left")
    for name in ("upstream", "gateway", PEER):
        one = figures[name]
        values = (f"{one[kind]:.2f}" for kind in ("p50", "p99"))
        firsts = ("" if one[kind] is None else f"{one[kind]:.2f}" for kind in ("first token p50", "first token p99"))
        table.add_row(name, str(one["calls"]), *values, str(one["streams"]), *firsts, str(one["errors"]))
    over = figures["over"]
    shown = {
        name: f"{value:.2f}" + (f" (≤ {TARGETS_MS[name]:g})" if name in TARGETS_MS else "")
        for name, value in over.items()
    }
    table.add_row(
        "gateway over", "", shown["p50"], shown["p99"], "", shown["first token p50"], shown["first token p99"], ""
    )
    peer = figures["peer over"]
    table.add_row("peer over", "", f"{peer['p50']:.2f}", f"{peer['p99']:.2f}", "", "", "", "")
    console.print(table)
