"""What kept vectors and kept passages save, by what stands behind them: an embedder, and a collection to search.

Time and CPU of finding the passages of a question: with nothing kept, with its vector kept, with its passages kept.
The remote embedder is the simulator's, at a usual latency; the local one is measured where it is installed and
``PROMPTYARD_EMBEDDING_FOLDER`` names its files.
"""

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from gateway.cache.contexts import ContextCache
from gateway.cache.embeddings import EmbeddingCache
from gateway.cache.retrieving import CachedRetriever
from gateway.clock import SystemClock
from gateway.embedding.base import Embedder, Vectors, unit_rows
from gateway.embedding.build import build_embedder
from gateway.retrieval.index import Index, LoadedDocument
from gateway.retrieval.ranking import choose, questions
from gateway.retrieval.search import Found
from gateway.settings import Settings
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import CachePolicy, LayerPolicy
from tests.bench.load import quantile
from tests.bench.processes import Program
from tests.servers import CACHE_ROLE, free_port, start_redis

ASKED = Path(__file__).parents[2] / "deployments" / "prompts" / "help-centre" / "golden.jsonl"
CHUNKS = (200, 10_000)
TEXT = "What is said in a chunk of a document, about as long as such texts are. " * 10
OFF, ON = LayerPolicy(on=False), LayerPolicy()
WAYS = {
    "nothing kept": CachePolicy(embedding=OFF, context=OFF),
    "vector kept": CachePolicy(embedding=ON, context=OFF),
    "passages kept": CachePolicy(embedding=ON, context=ON),
}


@dataclass(frozen=True)
class Measured:
    """Milliseconds one after the other; CPU of this process in microseconds for each question."""

    embedder: str
    chunks: int
    way: str
    p50_ms: float
    p95_ms: float
    cpu_us: float


class Library:
    """A collection in memory, searched as ``gateway/retrieval/search.py`` does."""

    def __init__(self, embedder: Embedder, dimensions: int, chunks: int) -> None:
        noise = np.random.default_rng(1).normal(size=(chunks, dimensions))
        documents = [
            LoadedDocument(f"document-{n}", 1, "A title", [TEXT] * 4, rows)
            for n, rows in enumerate(np.split(unit_rows(noise), chunks // 4))
        ]
        self._index = Index().updated(1, documents)
        self._embedder = embedder

    async def find(
        self,
        tenant: str,
        collection: str,
        epoch: str,
        query: str,
        top_k: int,
        *,
        embed: Callable[[Sequence[str]], Awaitable[Vectors]] | None = None,
    ) -> Found:
        index, asked = self._index, questions(query)
        vectors = await (embed or self._embedder.embed)(asked)
        rows = choose(index.scores(vectors), index.owners, top_k, max(1, (top_k + 1) // 2), index.place)
        return Found(tuple(index.passage(row, score) for row, score in rows), True, index.cells)


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds`` for each way of each pair of embedder and collection."""
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        redis = start_redis(folder / "cache", *CACHE_ROLE)
        closing.callback(redis.stop)
        port = free_port()
        simulator = Program("infra.simulator", "--port", str(port), "--latency-p50", "20", "--latency-p95", "40")
        closing.callback(simulator.terminate)
        simulator.wait_until_it_answers(f"http://127.0.0.1:{port}/healthz")
        with console.status("layers_below"):
            measured = uvloop.run(_measure(redis.url, f"http://127.0.0.1:{port}/v1", seconds))
    _print(measured, console)
    return {"measured": [asdict(one) for one in measured]}


async def _measure(redis_url: str, provider: str, seconds: float) -> list[Measured]:
    asked = [json.loads(line)["variables"]["question"] for line in ASKED.read_text().splitlines()]
    measured = []
    async with connect(redis_url, timeout=1.0, connections=4) as redis:
        line = RedisLine(redis, timeout=1.0)
        for name, embedder in _embedders(provider):
            dimensions = (await embedder.embed(asked[:1])).shape[1]
            for chunks in CHUNKS:
                retriever = CachedRetriever(
                    Library(embedder, dimensions, chunks),
                    embedder=embedder.name,
                    embeddings=EmbeddingCache(line, embedder),
                    contexts=ContextCache(line),
                    clock=SystemClock(),
                )
                for way, policy in WAYS.items():
                    measured.append(Measured(name, chunks, way, *await _time(retriever, asked, policy, seconds)))
            await embedder.aclose()
    return measured


def _embedders(provider: str) -> Iterator[tuple[str, Embedder]]:
    for name in ("lexical", "local", "openai"):
        settings = Settings.model_validate(
            {
                "embedder": name,
                "openai_base_url": provider,
                "OPENAI_API_KEY": "sk-bench",
                "embedding_folder": os.environ.get("PROMPTYARD_EMBEDDING_FOLDER", ""),
            }
        )
        with contextlib.suppress(ValueError):  # the local one is not installed
            yield {"openai": "remote"}.get(name, name), build_embedder(settings)


async def _time(
    retriever: CachedRetriever, asked: list[str], policy: CachePolicy, seconds: float
) -> tuple[float, float, float]:
    for query in asked:  # keeps what is to be kept
        await retriever.find("bench", "help", f"epoch of {id(retriever)}", query, 4, policy)
    taken: list[float] = []
    cpu, begun = time.process_time(), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for query in asked[:20] if len(taken) % 2 else asked[20:40]:
            at = time.perf_counter()
            await retriever.find("bench", "help", f"epoch of {id(retriever)}", query, 4, policy)
            taken.append((time.perf_counter() - at) * 1000)
        await asyncio.sleep(0)
    spent = (time.process_time() - cpu) / len(taken) * 1e6
    return quantile(taken, 0.5), quantile(taken, 0.95), spent


def _print(measured: list[Measured], console: Console) -> None:
    table = Table(title="finding the passages of a question, one after the other")
    for column in ("embedder", "chunks", "", "p50 ms", "p95 ms", "CPU µs"):
        table.add_column(column, justify="left" if column in ("embedder", "") else "right")
    for one in measured:
        table.add_row(
            one.embedder,
            f"{one.chunks:,}",
            one.way,
            f"{one.p50_ms:.2f}",
            f"{one.p95_ms:.2f}",
            f"{one.cpu_us:,.0f}",
            end_section=one.way == "passages kept",
        )
    console.print(table)
