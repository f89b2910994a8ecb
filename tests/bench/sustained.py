"""1,000 calls a second for minutes: open loop, two workers, 60 % repeats, everything on, on one machine."""

import asyncio
import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from tests.bench.connection import post_request
from tests.bench.load import quantile
from tests.bench.open_loop import OpenLoop
from tests.bench.processes import cpu_seconds, resident_bytes, workers
from tests.bench.stage import NEVER_REACHED, Stage, stage, start_upstream

RATE = 1000
REPEATS = 0.6
UPSTREAM_MS = 200.0
WORKERS = 2
MOST_CONNECTIONS = 1024
RECENT = 5_000
"""Fresh questions back from now among which a repeat chooses."""
MEMORY_EVERY = 10.0
TARGETS = {"p95_ms": 400.0, "error_share": 0.01, "memory_growth": 0.10}


@dataclass
class Memory:
    """Resident megabytes of each worker over time (seconds)."""

    at: list[float] = field(default_factory=list)
    megabytes: dict[int, list[float]] = field(default_factory=dict)

    def growth(self) -> float:
        """The worst worker's last third against its second third: the first one warms up."""
        third = len(self.at) // 3
        if not third:
            return 0.0
        return max(
            statistics.median(seen[-third:]) / statistics.median(seen[third : 2 * third]) - 1
            for seen in self.megabytes.values()
        )


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long calls keep coming."""
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        provider, upstream = start_upstream(closing, UPSTREAM_MS)
        here = closing.enter_context(stage(folder, provider))
        here.programs["upstream"] = upstream
        here.start_ledger_writer()
        gateway = here.start_gateway(env=here.start_trace_sink() | {"PROMPTYARD_WORKERS": str(WORKERS)})
        pids = workers(here.programs["gateway"].pid)
        due, repeats = _plan(seconds)
        loop = OpenLoop(gateway, _requests(gateway, here.key("bench", NEVER_REACHED), repeats), most=MOST_CONNECTIONS)
        before = _cpu(here, pids)
        with console.status("") as status:
            memory = uvloop.run(_load(loop, due, pids, seconds, status.update))
        elapsed = float(loop.answered_at[-1]) if loop.answered_at else seconds
        shares = {name: (spent - before[name]) / elapsed for name, spent in _cpu(here, pids).items()}
        shares["load generator"] = loop.cpu_seconds / elapsed
        figures = _figures(loop, memory, shares, len(due), elapsed)
        begun = time.monotonic()
        while here.undelivered() and time.monotonic() - begun < 120:
            time.sleep(0.1)
        figures["traced_bytes"] = here.traced_bytes()
        figures["ledger_behind_seconds"] = time.monotonic() - begun
        with reading(here.engine) as session:
            figures["ledger_rows"] = session.scalar(select(func.count()).select_from(CallRow))
    _print(figures, console)
    return figures


def _plan(seconds: float) -> tuple[list[float], list[int]]:
    """When calls come (a Poisson process), and which question each asks."""
    draw = random.Random(1)
    due: list[float] = []
    questions: list[int] = []
    now, fresh = 0.0, 0
    while (now := now + draw.expovariate(RATE)) < seconds:
        due.append(now)
        if fresh and draw.random() < REPEATS:
            questions.append(draw.randint(max(1, fresh - RECENT + 1), fresh))
        else:
            fresh += 1
            questions.append(fresh)
    return due, questions


def _requests(gateway: str, key: str, questions: Sequence[int]) -> Callable[[int], tuple[bytes, bytes]]:
    messages = [{"role": "user", "content": "Question %09d"}]
    body = json.dumps({"model": "gpt-4.1-mini", "messages": messages, "temperature": 0}).encode()
    request = post_request(f"{gateway}/v1/chat/completions", {"authorization": f"Bearer {key}"}, body)

    def nth(number: int) -> tuple[bytes, bytes]:
        question = questions[number]
        return request % question, b"You said: Question %09d" % question

    return nth


async def _load(
    loop: OpenLoop, due: Sequence[float], pids: Sequence[int], seconds: float, tell: Callable[[str], None]
) -> Memory:
    memory = Memory(megabytes={pid: [] for pid in pids})
    every = min(MEMORY_EVERY, seconds / 9)
    running = asyncio.create_task(loop.run(due))
    begun = time.perf_counter()
    while not running.done():
        memory.at.append(round(time.perf_counter() - begun, 1))
        for pid in pids:
            memory.megabytes[pid].append(round(resident_bytes(pid) / 1e6, 1))
        tell(f"sustained: {memory.at[-1]:.0f} of {seconds:.0f} s, {len(loop.latency_ms):,} answers")
        await asyncio.wait((running,), timeout=every)
    await running
    return memory


def _cpu(here: Stage, pids: Sequence[int]) -> dict[str, float]:
    everybody = here.pids() | {f"worker {number}": pid for number, pid in enumerate(pids, 1)}
    return {name: cpu_seconds(pid) for name, pid in everybody.items()}


def _figures(loop: OpenLoop, memory: Memory, shares: Mapping[str, float], calls: int, elapsed: float) -> dict[str, Any]:
    taken = list(loop.latency_ms)
    return {
        "calls": calls,
        "answers_per_second": len(taken) / elapsed,
        "p50_ms": quantile(taken, 0.5),
        "p95_ms": quantile(taken, 0.95),
        "p99_ms": quantile(taken, 0.99),
        "error_share": sum(loop.failures.values()) / calls,
        "failures": dict(loop.failures),
        "connections": loop.connections,
        "longest_queue": loop.longest_queue,
        "memory_growth": memory.growth(),
        "memory_at_seconds": memory.at,
        "memory_megabytes": list(memory.megabytes.values()),
        "cpu_share_of_a_core": {name: round(share, 3) for name, share in shares.items()},
        "targets": TARGETS,
    }


def _print(figures: Mapping[str, Any], console: Console) -> None:
    table = Table(
        title=f"{RATE:,} calls a second, open loop, {WORKERS} workers, {REPEATS:.0%} repeats, "
        f"upstream (lean) {UPSTREAM_MS:g} ms"
    )
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_row("calls", f"{figures['calls']:,}", "")
    table.add_row("answers/s", f"{figures['answers_per_second']:,.0f}", "")
    table.add_row("p50", f"{figures['p50_ms']:.1f} ms", "")
    table.add_row("p95", f"{figures['p95_ms']:.1f} ms", f"< {TARGETS['p95_ms']:g} ms")
    table.add_row("p99", f"{figures['p99_ms']:.1f} ms", "")
    table.add_row("errors", f"{figures['error_share']:.3%}", f"< {TARGETS['error_share']:.0%}")
    for why, count in figures["failures"].items():
        table.add_row(f"  {why}", f"{count:,}", "")
    table.add_row("memory growth", f"{figures['memory_growth']:+.1%}", f"< {TARGETS['memory_growth']:.0%}")
    table.add_row("connections", f"{figures['connections']:,}", f"≤ {MOST_CONNECTIONS:,}")
    table.add_row("longest queue for one", f"{figures['longest_queue']:,}", "")
    table.add_row("rows in the ledger", f"{figures['ledger_rows']:,}", f"{figures['calls']:,}")
    table.add_row("ledger behind at the end", f"{figures['ledger_behind_seconds']:.1f} s", "")
    console.print(table)
    used = Table(title="CPU, as a share of one core")
    for name in figures["cpu_share_of_a_core"]:
        used.add_column(name, justify="right")
    used.add_row(*(f"{share:.0%}" for share in figures["cpu_share_of_a_core"].values()))
    console.print(used)
    grown = Table(title="resident memory of the workers, MB")
    shown = range(0, len(figures["memory_at_seconds"]), max(1, len(figures["memory_at_seconds"]) // 12))
    for place in shown:
        grown.add_column(f"{figures['memory_at_seconds'][place]:.0f} s", justify="right")
    for seen in figures["memory_megabytes"]:
        grown.add_row(*(f"{seen[place]:.0f}" for place in shown))
    console.print(grown)
