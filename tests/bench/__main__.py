"""The online path against a bare handler, interleaved on one machine: ``python -m tests.bench [--seconds S]``."""

import argparse
import asyncio
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from tests.bench.load import Load, load
from tests.gateway_process import GatewayProcess
from tests.gateway_stack import gateway_stack, until
from tests.servers import free_port

CONNECTIONS = 32
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """Something to load; ``against`` names the case that it is a ratio of."""

    name: str
    url: str
    headers: Mapping[str, str]
    body: Callable[[int], Mapping[str, Any]]
    against: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round of one case")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, gateway_stack(Path(folder)) as stack:
        key = stack.key("default")
        gateway = GatewayProcess(stack.settings)
        simulator_port = free_port()
        simulator = _module(
            "infra.simulator", "--port", str(simulator_port), "--latency-p50", "0", "--latency-p95", "0"
        )
        provider = f"http://127.0.0.1:{simulator_port}/v1"
        peer_port = free_port()
        peer = _module("tests.bench.peer", str(peer_port), stack.settings.cache_redis_url, provider)
        try:
            gateway.wait_until_it_answers()
            until("the peer answers", lambda: _answers(f"http://127.0.0.1:{peer_port}/docs"), within=60)
            until("the simulator answers", lambda: _answers(f"http://127.0.0.1:{simulator_port}/healthz"), within=60)
            _report(asyncio.run(_measure(_cases(gateway.url, f"http://127.0.0.1:{peer_port}", key), seconds)))
        finally:
            for process in (peer, simulator):
                process.terminate()
                process.wait(10)
            gateway.terminate()


def _cases(gateway: str, peer: str, key: str) -> list[Case]:
    numbers = itertools.count()
    mine = {"Authorization": f"Bearer {key}"}
    chat = f"{gateway}/v1/chat/completions"

    def question(text: str) -> Mapping[str, Any]:
        return {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": text}], "temperature": 0}

    def fresh(_: int) -> Mapping[str, Any]:
        return question(f"Question {next(numbers)}")

    return [
        Case("bare FastAPI, one Redis GET", f"{peer}/get", {}, lambda _: question("hello")),
        Case("gateway, exact hit", chat, mine, lambda _: question("hello"), "bare FastAPI, one Redis GET"),
        Case("FastAPI, openai SDK (aiohttp)", f"{peer}/ask", {}, fresh),
        Case("gateway, miss", chat, mine, fresh, "FastAPI, openai SDK (aiohttp)"),
    ]


async def _measure(cases: list[Case], seconds: float) -> dict[Case, list[Load]]:
    """Round by round through all cases, so that a slow moment of the machine hits them alike."""
    rounds: dict[Case, list[Load]] = {case: [] for case in cases}
    for number in range(ROUNDS + 1):
        for case in cases:
            print(f"round {number} of {ROUNDS}: {case.name}", file=sys.stderr)
            length = 0.7 if number == 0 else seconds  # the first one warms up
            seen = await load(case.url, case.headers, case.body, connections=CONNECTIONS, seconds=length)
            if number:
                rounds[case].append(seen)
    return rounds


def _report(rounds: Mapping[Case, list[Load]]) -> None:
    rates = {case.name: statistics.median(one.rate for one in seen) for case, seen in rounds.items()}
    table = Table(title=f"{CONNECTIONS} connections, one worker, medians of {ROUNDS} rounds, load generator beside it")
    for column in ("", "calls/s", "p50 ms", "p99 ms", "errors", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for case, seen in rounds.items():
        table.add_row(
            case.name,
            f"{rates[case.name]:,.0f}",
            f"{statistics.median(one.p50 for one in seen):.1f}",
            f"{statistics.median(one.p99 for one in seen):.1f}",
            str(sum(one.errors for one in seen)),
            f"{rates[case.name] / rates[case.against]:.2f} ×" if case.against else "",
        )
    Console().print(table)


def _module(name: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", name, *arguments], stdout=subprocess.DEVNULL)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
