"""Whether a worker's own memory in front of Redis gains anything: the same hits by each place that may give them.

``exact``: Redis alone. ``local``: the memory in front of it. ``process``: the memory in its place. Each with and
without documents, whose epoch is read either way. First the looks alone (``looks``), then whole calls under load,
interleaved on one machine.
"""

import asyncio
import contextlib
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import uvloop
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from gateway.prompts.projection import write_routing
from gateway.prompts.routing_store import RoutingStore
from gateway.storage.engine import writing
from gateway.storage.redis_store import connect
from gateway.types import CachePlace, CachePolicy, LayerPolicy, PromptVersion, SemanticMode, SemanticPolicy
from tests.bench import looks
from tests.bench.connection import post_request
from tests.bench.load import ClosedLoop, Load
from tests.bench.processes import cpu_seconds
from tests.bench.stage import NEVER_REACHED, Stage, stage, start_upstream
from tests.gateway_stack import prompt_version, put_into_production

CONNECTIONS = 32
ROUNDS = 5
TENANT = "bench"
QUESTION = "How do I get my money back for what I have never used? " * 12
EXACT = CachePolicy(semantic=SemanticPolicy(mode=SemanticMode.OFF))
POLICIES = {
    "exact": EXACT,
    "local": replace(EXACT, local=LayerPolicy(on=True, ttl=10.0)),
    "process": replace(EXACT, place=CachePlace.PROCESS),
}


@dataclass(frozen=True)
class Case:
    """One prompt under one policy, and the layer that must answer it."""

    name: str
    version: PromptVersion
    layer: str

    def request(self, url: str, key: str) -> bytes:
        body = {"model": f"prompt:{self.version.name}", "variables": {"question": QUESTION}}
        return post_request(url, {"authorization": f"Bearer {key}"}, json.dumps(body).encode())


@dataclass(frozen=True)
class Round:
    """CPU in microseconds per call: the gateway's, and that of both Redis."""

    load: Load
    gateway: float
    redis: float


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds`` is the length of one round of one case."""
    cases = [_case(policy, documents) for documents in (False, True) for policy in POLICIES]
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        provider, _ = start_upstream(closing, 0)
        here = closing.enter_context(stage(folder, provider))
        here.start_ledger_writer()
        _publish(here, cases)
        gateway = here.start_gateway()
        key = here.key(TENANT, NEVER_REACHED)
        _write_documents(gateway, key, cases)
        rounds: dict[str, list[Round]] = {case.name: [] for case in cases}
        with console.status("local_layer"):
            for number in range(ROUNDS + 1):
                for case in cases:
                    measured = _round(here, case, gateway, key, seconds if number else min(1.0, seconds))
                    if number:  # the first one warms up
                        rounds[case.name].append(measured)
            alone = looks.measure(here.settings.cache_redis_url, here.settings.state_redis_url, POLICIES)
    figures = {name: _figures(seen) for name, seen in rounds.items()}
    _print_looks(alone, figures, console)
    _print(figures, console)
    return {"calls": figures, "looks": [asdict(one) for one in alone]}


def _case(policy: str, documents: bool) -> Case:
    plain: dict[str, Any] = {"retrieval": None, "template": ({"role": "user", "content": "{{question}}"},)}
    prompt = f"{policy}-{'grounded' if documents else 'plain'}"
    version = prompt_version(TENANT, prompt, cache=POLICIES[policy], **({} if documents else plain))
    return Case(
        _named(policy, documents),
        replace(version, variables=(replace(version.variables[0], max_chars=2_000),)),
        _layer(policy),
    )


def _named(policy: str, documents: bool) -> str:
    return f"{policy}, {'with' if documents else 'without'} documents"


def _layer(policy: str) -> str:
    return "exact" if policy == "exact" else "local"


def _publish(here: Stage, cases: list[Case]) -> None:
    with writing(here.engine) as session:
        for case in cases:
            put_into_production(session, case.version)
        table = write_routing(session, here.clock)

    async def tell() -> None:
        redis = connect(here.settings.state_redis_url, timeout=5, connections=2, guarded=True)
        try:
            await RoutingStore(redis).publish(table)
        finally:
            await redis.aclose()

    asyncio.run(tell())


def _write_documents(gateway: str, key: str, cases: list[Case]) -> None:
    with httpx.Client(base_url=gateway, headers={"authorization": f"Bearer {key}"}, timeout=30) as http:
        for case in cases:
            if case.version.retrieval is not None:
                document = {"title": "Returns", "text": "Money is paid back within thirty days."}
                http.put(f"/v1/documents/{case.version.retrieval.collection}/returns", json=document).raise_for_status()


def _round(here: Stage, case: Case, gateway: str, key: str, seconds: float) -> Round:
    url = f"{gateway}/v1/chat/completions"
    request = case.request(url, key)
    with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=30) as http:
        for _ in range(2):  # a miss, and the first hit, which the memory takes from Redis
            body = {"model": f"prompt:{case.version.name}", "variables": {"question": QUESTION}}
            http.post(url, json=body).raise_for_status()
    before = {name: cpu_seconds(pid) for name, pid in here.pids().items()}
    loop = ClosedLoop(url, lambda: request, b'"cache":{"layer":"%s"' % case.layer.encode())
    load = uvloop.run(loop.run(CONNECTIONS, seconds))
    used = {name: (cpu_seconds(pid) - before[name]) / max(1, load.calls) * 1e6 for name, pid in here.pids().items()}
    return Round(load, used["gateway"], used["cache Redis"] + used["state Redis"])


def _figures(seen: list[Round]) -> dict[str, float]:
    return {
        "calls_per_second": statistics.median(one.load.rate for one in seen),
        "p50_ms": statistics.median(one.load.p50 for one in seen),
        "p99_ms": statistics.median(one.load.p99 for one in seen),
        "cpu_us": statistics.median(one.gateway for one in seen),
        "redis_cpu_us": statistics.median(one.redis for one in seen),
        "errors": sum(one.load.errors for one in seen),
    }


def _print_looks(alone: list[looks.Look], figures: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title=f"one look, all hits, {looks.AT_ONCE} at a time, medians of {looks.ROUNDS} rounds")
    for column in ("", "cuts", "CPU µs", "time µs", "share of a call's CPU"):
        table.add_column(column, justify="right" if "µs" in column or "share" in column else "left")
    for one in alone:
        name = _named(one.policy, one.documents)
        share = f"{one.cpu_us / figures[name]['cpu_us']:.1%}" if one.cuts == "trusted" else ""
        table.add_row(name, one.cuts, f"{one.cpu_us:.0f}", f"{one.wall_us:,.0f}", share)
    console.print(table)


def _print(figures: dict[str, dict[str, float]], console: Console) -> None:
    table = Table(title=f"hits by place: {CONNECTIONS} connections, one worker, medians of {ROUNDS} interleaved rounds")
    names = ("calls/s", "p50 ms", "p99 ms", "CPU µs/call", "both Redis µs/call", "other answers", "× calls/s")
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for name, one in figures.items():
        against = figures[f"exact,{name.partition(',')[2]}"]
        table.add_row(
            name,
            f"{one['calls_per_second']:,.0f}",
            f"{one['p50_ms']:.1f}",
            f"{one['p99_ms']:.1f}",
            f"{one['cpu_us']:,.0f}",
            f"{one['redis_cpu_us']:,.0f}",
            f"{one['errors']:.0f}",
            f"{one['calls_per_second'] / against['calls_per_second']:.2f}",
        )
    console.print(table)
    console.print(
        "Other answers: with a memory in front, each answer comes from Redis once in its ten seconds.", style="dim"
    )
