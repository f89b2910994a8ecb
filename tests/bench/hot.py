"""The hot path against bare handlers, interleaved on one machine: exact hit and miss, with everything on.

On means: a key with limits (so that the rate limiter's script runs), ledger with its writer running, metrics, traces of
1 % of the calls to a sink. Garbage collection is frozen on both sides.
"""

import contextlib
import itertools
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench.connection import post_request
from tests.bench.load import ClosedLoop, Load
from tests.bench.processes import cpu_seconds
from tests.bench.stage import NEVER_REACHED, Stage, stage, start_upstream
from tests.servers import free_port

CONNECTIONS = 32
ROUNDS = 5
TARGETS = {"gateway, exact hit": 1.2, "gateway, miss": 1.5}
_DRAINED_WITHIN = 60.0
_PLACES = 12


@dataclass(frozen=True, eq=False)
class Case:
    """Something to load; ``program`` serves it, ``against`` names the case that it is a ratio of."""

    name: str
    url: str
    program: str
    request: Callable[[], bytes]
    expected: bytes
    against: str = ""


@dataclass(frozen=True)
class Round:
    """One case's load, with CPU microseconds per call by program."""

    load: Load
    cpu: Mapping[str, float]


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Measure, print, and return the figures. ``seconds`` is the length of one round of one case."""
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        provider, upstream = start_upstream(closing, 0)
        here = closing.enter_context(stage(folder, provider))
        here.programs["upstream"] = upstream
        here.start_ledger_writer()
        profile = folder / "profile.json"
        tracing = here.start_trace_sink()
        gateway = here.start_gateway(
            module="tests.bench.profiled_gateway", env={"PROMPTYARD_BENCH_PROFILE": str(profile), **tracing}
        )
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
        cases = _cases(gateway, peer, here.key("bench", NEVER_REACHED))
        rounds = _measure(here, cases, seconds, console)
        profiles = {case.name: _profile(here, case, seconds, profile) for case in cases if case.program == "gateway"}
        figures = _figures(rounds)
        traced = here.traced_bytes()
    _print(figures, profiles, console)
    return {"cases": figures, "profiles": profiles, "traced_bytes": traced}


def _cases(gateway: str, peer: str, key: str) -> list[Case]:
    numbers = itertools.count(1)
    mine = {"authorization": f"Bearer {key}"}

    def question(text: str) -> bytes:
        body = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": text}], "temperature": 0}
        return json.dumps(body).encode()

    def same(url: str, headers: Mapping[str, str]) -> Callable[[], bytes]:
        request = post_request(url, headers, question("hello"))
        return lambda: request

    def fresh(url: str, headers: Mapping[str, str]) -> Callable[[], bytes]:
        request = post_request(url, headers, question("Question %09d"))
        return lambda: request % next(numbers)

    chat = f"{gateway}/v1/chat/completions"
    get, ask = "bare FastAPI, one Redis GET", "FastAPI, openai SDK (aiohttp)"
    return [
        Case(get, f"{peer}/get", "peer", same(f"{peer}/get", {}), b"answer"),
        Case("gateway, exact hit", chat, "gateway", same(chat, mine), b'"layer":"exact"', get),
        Case(ask, f"{peer}/ask", "peer", fresh(f"{peer}/ask", {}), b"You said: Question"),
        Case("gateway, miss", chat, "gateway", fresh(chat, mine), b'"layer":"none"', ask),
    ]


def _measure(here: Stage, cases: list[Case], seconds: float, console: Console) -> dict[Case, list[Round]]:
    """Round by round through all cases, so that a slow moment of the machine hits them alike."""
    rounds: dict[Case, list[Round]] = {case: [] for case in cases}
    with console.status("") as status:
        for number in range(ROUNDS + 1):
            for case in cases:
                status.update(f"hot: round {number} of {ROUNDS}: {case.name}")
                if number == 0:  # warms up
                    _load(case, min(1.0, seconds))
                else:
                    rounds[case].append(_round(here, case, seconds))
                _drained(here)
    return rounds


def _round(here: Stage, case: Case, seconds: float) -> Round:
    before = {name: cpu_seconds(pid) for name, pid in here.pids().items()}
    load = _load(case, seconds)
    used = {name: cpu_seconds(pid) - before[name] for name, pid in here.pids().items()}
    calls = max(1, load.calls)
    return Round(load, {name: spent / calls * 1e6 for name, spent in used.items()})


def _load(case: Case, seconds: float) -> Load:
    return uvloop.run(ClosedLoop(case.url, case.request, case.expected).run(CONNECTIONS, seconds))


def _drained(here: Stage) -> None:
    """One case's ledger records must not be shipped at the cost of the next case."""
    deadline = time.monotonic() + _DRAINED_WITHIN
    while here.undelivered() and time.monotonic() < deadline:
        time.sleep(0.05)


def _profile(here: Stage, case: Case, seconds: float, report: Path) -> dict[str, Any]:
    """Shares of the gateway's CPU time by room and by place, in a run of its own."""
    report.unlink(missing_ok=True)
    program = here.programs[case.program]
    program.signal(signal.SIGUSR1)
    _load(case, seconds)
    program.signal(signal.SIGUSR2)
    deadline = time.monotonic() + 10
    while not report.exists():
        assert time.monotonic() < deadline, f"no profile: {program.log()[-2000:]}"
        time.sleep(0.05)
    _drained(here)
    counts = json.loads(report.read_bytes())
    samples = sum(counts["rooms"].values())

    def shares(of: Mapping[str, int], most: int) -> dict[str, float]:
        return {name: round(n / samples, 4) for name, n in sorted(of.items(), key=lambda item: -item[1])[:most]}

    return {"samples": samples, "rooms": shares(counts["rooms"], 99), "places": shares(counts["places"], _PLACES)}


def _figures(rounds: Mapping[Case, list[Round]]) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for case, seen in rounds.items():
        loads = [one.load for one in seen]
        figures[case.name] = {
            "calls_per_second": statistics.median(load.rate for load in loads),
            "p50_ms": statistics.median(load.p50 for load in loads),
            "p99_ms": statistics.median(load.p99 for load in loads),
            "errors": sum(load.errors for load in loads),
            "client_share": statistics.median(load.client_share for load in loads),
            "cpu_us": statistics.median(one.cpu[case.program] for one in seen),
            "cpu_us_all": {
                name: round(statistics.median(one.cpu[name] for one in seen), 1)
                for name in seen[0].cpu
                if any(one.cpu[name] >= 1 for one in seen)
            },
        }
        if peer := figures.get(case.against):
            mine = figures[case.name]
            mine["ratio"] = mine["calls_per_second"] / peer["calls_per_second"]
            mine["cpu_ratio"] = peer["cpu_us"] / max(mine["cpu_us"], 1e-9)
            mine["target"] = TARGETS[case.name]
            mine["p99_no_worse"] = mine["p99_ms"] <= peer["p99_ms"]
    return figures


def _print(
    figures: Mapping[str, Mapping[str, Any]], profiles: Mapping[str, Mapping[str, Any]], console: Console
) -> None:
    table = Table(
        title=f"hot path: {CONNECTIONS} connections, one worker, everything on, medians of {ROUNDS} interleaved rounds"
    )
    names = ("calls/s", "p50 ms", "p99 ms", "errors", "CPU µs/call", "client", "× calls/s", "× CPU", "target")
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for name, one in figures.items():
        ratios = ("", "", "")
        if "ratio" in one:
            ratios = (f"{one['ratio']:.2f}", f"{one['cpu_ratio']:.2f}", f"≥ {one['target']}")
        table.add_row(
            name,
            f"{one['calls_per_second']:,.0f}",
            f"{one['p50_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            str(one["errors"]),
            f"{one['cpu_us']:,.0f}",
            f"{one['client_share']:.0%}",
            *ratios,
        )
    console.print(table)
    console.print(
        "The upstream is a lean one, without latency. CPU is the serving process's own; client: the load generator's "
        "share of one core.",
        style="dim",
    )
    _print_everybody(figures, console)
    for name, profile in profiles.items():
        _print_profile(name, profile, console)


def _print_everybody(figures: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    programs = sorted({name for one in figures.values() for name in one["cpu_us_all"]})
    table = Table(title="CPU µs per call of everybody on the machine")
    for column in ("", *programs):
        table.add_column(column, justify="right" if column else "left")
    for name, one in figures.items():
        table.add_row(name, *(f"{one['cpu_us_all'].get(program, 0):,.0f}" for program in programs))
    console.print(table)


def _print_profile(name: str, profile: Mapping[str, Any], console: Console) -> None:
    rooms, places = list(profile["rooms"].items()), list(profile["places"].items())
    table = Table(title=f"where the time goes: {name} ({profile['samples']:,} samples)")
    for column in ("room", "share", "place", "of all"):
        table.add_column(column, justify="right" if column in ("share", "of all") else "left")
    for (room, share), (place, part) in itertools.zip_longest(rooms, places, fillvalue=("", 0.0)):
        table.add_row(room, f"{share:.1%}" if room else "", place, f"{part:.1%}" if place else "")
    console.print(table)
