"""Nothing older than what was acknowledged: the long version of ``tests/integration/test_freshness.py``, how long an
acknowledgement takes with 100,000 answers in the cache, and what a change costs the index that is searched.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import uvloop
from msgspec import structs
from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table

from gateway.cache.entry import Entry, encode
from gateway.cache.keys import Scope, entry_name
from gateway.retrieval.index import Index, LoadedDocument
from gateway.types import Reply, Usage
from tests.bench.load import quantile
from tests.freshness.stand import stand, troubles
from tests.freshness.trial import PROMPT, TENANT, Report, Trial, prompt

WORKERS = 4
ENTRIES = 100_000
CHANGES = 500
CHUNKS = 20_000
TARGETS = {"acknowledged_p99_ms": 20.0, "reads": 50_000, "stale": 0}


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long documents are changed under load."""
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, console.status("") as status:
        status.update("freshness: the index")
        index = _index()
        status.update(f"freshness: {WORKERS} workers start")
        large = ("--maxmemory", "512mb", "--maxmemory-policy", "allkeys-lru")
        with stand(Path(folder), workers=WORKERS, cache_role=large) as (here, url, key):
            status.update(f"freshness: acknowledgements with {ENTRIES:,} answers in the cache")
            uvloop.run(_fill(here.cache_redis.url, ENTRIES))
            acknowledged = uvloop.run(_acknowledge(url, key, CHANGES))
            uvloop.run(_flush(here.cache_redis.url))
            status.update("freshness: documents change under load")
            report = uvloop.run(Trial(url, key).run(seconds, troubles(here)))
    if acknowledged["p99_ms"] > TARGETS["acknowledged_p99_ms"]:
        violations.append(f"a change was acknowledged in {acknowledged['p99_ms']:.1f} ms (p99)")
    violations += [f"stale: {one}" for one in report.stale]
    figures = _figures(report)
    _print(index, acknowledged, figures, console)
    if report.stale:
        console.print("\n".join(report.stale[:5]), style="red", markup=False)
    return {"index": index, "acknowledgement": acknowledged, "live": figures, "violations": violations}


def _index() -> dict[str, float]:
    """Milliseconds of one document's change (four chunks) in a collection of ``CHUNKS``, and of building it."""
    vectors = np.random.default_rng(0).normal(size=(CHUNKS, 384)).astype(np.float32)
    texts = ["text"] * 4
    whole = [LoadedDocument(f"d{n}", 1, "", texts, vectors[4 * n : 4 * n + 4]) for n in range(CHUNKS // 4)]
    begun = time.perf_counter()
    index = Index().updated(1, whole)
    built = (time.perf_counter() - begun) * 1000
    taken = []
    for revision in range(2, 6_000):
        change = [LoadedDocument(f"d{revision % len(whole)}", revision, "", texts, vectors[:4])]
        begun = time.perf_counter()
        index = index.updated(revision, change)
        taken.append((time.perf_counter() - begun) * 1000)
    return {
        "chunks": CHUNKS,
        "built_ms": built,
        "change_p50_ms": quantile(taken, 0.5),
        "change_p99_ms": quantile(taken, 0.99),
        "change_mean_ms": sum(taken) / len(taken),
        "change_max_ms": max(taken),
    }


async def _fill(url: str, count: int) -> None:
    """Answers of the prompt, as the gateway keeps them: what a change makes doubtful."""
    version = prompt()
    scope = Scope(TENANT, version.name, version.version)
    message = {"role": "assistant", "content": "An answer of some length, as answers are. " * 8}
    usage = Usage(200, 80)
    documents = (f"doc:{PROMPT}/anchor@1",)
    reply = Reply(message=message, finish_reason="stop", provider="openai", model="m", usage=usage, documents=documents)
    entry = Entry(
        key="", tenant=TENANT, prompt=version.name, version=version.version, collection=PROMPT, epoch="g.e",
        grounding="", cuts="", tags=(), created_at=0, expires_at=2**33, aged_until=0, made_in=1,
        variables={"question": "What is the code?"}, messages=(), reply=reply,
    )  # fmt: skip
    redis = Redis.from_url(url)
    for start in range(0, count, 1_000):
        pipe = redis.pipeline(transaction=False)
        for number in range(start, min(start + 1_000, count)):
            key = f"{number:064x}"
            pipe.set(entry_name(scope, key), encode(structs.replace(entry, key=key)), ex=3_600)
        await pipe.execute()
    assert await redis.dbsize() == count, "the cache evicts: not what is to be measured"
    await redis.aclose()


async def _flush(url: str) -> None:
    redis = Redis.from_url(url)
    await redis.flushall()
    await redis.aclose()


async def _acknowledge(url: str, key: str, count: int) -> dict[str, float]:
    """Of ``count`` documents put, changed and deleted, one after the other: embedding and HTTP included."""
    taken: dict[str, list[float]] = {"put": [], "delete": []}
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for number in range(count):
            address = f"{url}/v1/documents/{PROMPT}/measured-{number % 50}"
            for kind in ("put", "put", "delete"):
                text = f"Statement {number} {len(taken['put'])}. " + "It goes on for a while, as documents do. " * 20
                body = {"title": "Measured", "text": text} if kind == "put" else None
                begun = time.perf_counter()
                async with http.request(kind.upper(), address, json=body) as response:
                    assert response.status in (200, 204), await response.text()
                taken[kind].append((time.perf_counter() - begun) * 1000)
    both = [*taken["put"], *taken["delete"]]
    return {
        "entries": ENTRIES,
        "changes": len(both),
        "p50_ms": quantile(both, 0.5),
        "p99_ms": quantile(both, 0.99),
        "max_ms": max(both),
        "put_p99_ms": quantile(taken["put"], 0.99),
        "delete_p99_ms": quantile(taken["delete"], 0.99),
    }


def _figures(report: Report) -> dict[str, Any]:
    return {
        "seconds": report.seconds,
        "reads": report.reads,
        "layers": dict(report.layers),
        "errors": dict(report.errors),
        "writes": report.writes,
        "better_documents": report.better,
        "refused_writes": report.refused_writes,
        "write_p50_ms": quantile(report.writes_ms, 0.5),
        "write_p99_ms": quantile(report.writes_ms, 0.99),
        "stale": len(report.stale),
    }


def _print(index: dict[str, float], acknowledged: dict[str, float], live: dict[str, Any], console: Console) -> None:
    table = Table(title=f"freshness: {WORKERS} workers, 50 documents, either Redis killed twice")
    table.add_column("what")
    table.add_column("seen", justify="right")
    table.add_row(
        f"one document's change in an index of {index['chunks']:,} chunks, mean ms", _ms(index["change_mean_ms"])
    )
    table.add_row("the same, worst ms (the matrix grows)", _ms(index["change_max_ms"]))
    table.add_row(f"acknowledged with {acknowledged['entries']:,} answers kept, p50 ms", _ms(acknowledged["p50_ms"]))
    table.add_row("the same, p99 ms", _ms(acknowledged["p99_ms"]))
    table.add_row(f"reads in {live['seconds']:.0f} s", f"{live['reads']:,}")
    table.add_row("from", ", ".join(f"{layer} {count:,}" for layer, count in sorted(live["layers"].items())))
    table.add_row("changes (new documents that answer better)", f"{live['writes']:,} ({live['better_documents']:,})")
    table.add_row("acknowledged under load, p50 / p99 ms", f"{_ms(live['write_p50_ms'])} / {_ms(live['write_p99_ms'])}")
    table.add_row("errors", json.dumps(live["errors"]) if live["errors"] else "none")
    table.add_row("stale after acknowledgement", str(live["stale"]))
    console.print(table)


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"
