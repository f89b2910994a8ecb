"""How long a semantic hit takes, and what of it is the search: numpy against FAISS HNSW, 10,000 and 100,000 questions.

``search``: the index alone, on vectors that lie in clusters as sentences do. ``hit``: a whole call on the request path
of one worker (in process, real Redis on loopback): exact miss, embedding, search, guards, kept answer, ledger record.
The questions that are asked and their nearest ones are text; what fills the scope are vectors. Needs the extra
``local`` and ``PROMPTYARD_EMBEDDING_FOLDER`` for the local model, and the extra ``faiss``; without them it says so and
takes the lexical embedder, and numpy.
"""

import asyncio
import contextlib
import os
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from msgspec import structs
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gateway.cache.semantic.blocks import BLOCK, build_graph, graphs_available
from gateway.cache.semantic.index import SimilarIndex
from gateway.cache.semantic.scope import question_of
from gateway.cache.semantic.score import fingerprint
from gateway.cache.semantic.shelf import Shelf
from gateway.cache.semantic.verdicts import Verdict, publish
from gateway.clock import SystemClock, new_id
from gateway.compose import Gateway, compose
from gateway.errors import ProviderError
from gateway.prompts.rewording import compared_variable, reworded
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.trail import Trail
from gateway.types import (
    CachePolicy,
    Call,
    Candidate,
    Layer,
    PromptVersion,
    Reply,
    SemanticMode,
    SemanticPolicy,
    Usage,
)
from tests.gateway_stack import prompt_version, settings_for
from tests.servers import CACHE_ROLE, STATE_ROLE, start_redis

SIZES = (10_000, 100_000)
TARGETS_MS = {10_000: 3.0, 100_000: 5.0}
DIMENSIONS = 384
NEIGHBOURS = 10
NOBODY = "http://127.0.0.1:1"
"""Port 1 of loopback: a miss fails at once, and is counted."""

_CLUSTERS = 2_000
_VERBS = ("change", "cancel", "pause", "renew", "move", "share", "export", "print", "check", "repair")
_NOUNS = (
    "invoice address", "monthly plan", "alarm limit", "door sensor", "weekly report", "temperature chart",
    "delivery date", "payment card", "second hub", "quiet hours", "user account", "spare battery",
    "phone number", "wireless network", "service contract", "warranty card", "freezer probe", "backup link",
    "account password", "company name",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Timing":
        ordered = sorted(1_000 * one for one in seconds)
        return cls(statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))])


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: times a hundred searches of each kind."""
    searches = max(50, int(100 * seconds))
    found: dict[str, Any] = {"faiss": graphs_available(), "search": [], "hits": []}
    if not graphs_available():
        console.print("FAISS is not installed: numpy searches every size.")
    for size in SIZES:
        rng = np.random.default_rng(size)
        vectors = _clustered(rng, size)
        asked = _beside(rng, vectors, searches)
        for graphs in (False, True) if graphs_available() else (False,):
            found["search"].append(uvloop.run(_search(vectors, asked, graphs)))
    console.print(_search_table(found["search"]))
    for size in SIZES:
        found["hits"].append(uvloop.run(_hits(size)))
    console.print(_hit_table(found["hits"]))
    return found


async def _search(vectors: NDArray[np.float32], asked: NDArray[np.float32], graphs: bool) -> dict[str, Any]:
    index = SimilarIndex(most=len(vectors) + BLOCK, build=build_graph if graphs else None)
    end = time.time() + 3_600
    for number, vector in enumerate(vectors):
        index.add(str(number), vector, end)
    begun = time.perf_counter()
    await index.seal()
    built = time.perf_counter() - begun
    taken, met = [], 0
    for vector in asked:
        begun = time.perf_counter()
        near = await index.nearest(vector, NEIGHBOURS, 0.0)
        taken.append(time.perf_counter() - begun)
        met += near[0].text == str(int(np.argmax(vectors @ vector)))
    timing = Timing.of(taken)
    return {
        "questions": len(vectors),
        "by": "HNSW" if graphs else "numpy",
        "p50_ms": timing.p50,
        "p99_ms": timing.p99,
        "recall_at_1": met / len(asked),
        "build_s": built,
    }


async def _hits(size: int) -> dict[str, Any]:
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        cache = start_redis(folder / "cache", *CACHE_ROLE, "--maxmemory", "1gb")
        closing.callback(cache.stop)
        state = start_redis(folder / "state", *STATE_ROLE)
        closing.callback(state.stop)
        gateway = compose(settings_for(folder, cache.url, state.url, NOBODY, **_embedder()))
        try:
            return await _measure(gateway, size)
        finally:
            await gateway.close()


def _embedder() -> dict[str, str]:
    where = os.environ.get("PROMPTYARD_EMBEDDING_FOLDER", "")
    with contextlib.suppress(ImportError):
        import fastembed  # noqa: F401

        if where and Path(where).is_dir():
            return {"embedder": "local", "embedding_folder": where}
    return {"embedder": "lexical"}


async def _measure(gateway: Gateway, size: int) -> dict[str, Any]:
    version = _version()
    questions = [f"How do I {verb} the {noun}?" for verb in _VERBS for noun in _NOUNS]
    place = question_of(await _routed(gateway, version, "x"), version, "question", gateway.embedder.name)
    await publish(gateway.state_redis, place.scope, Verdict(serving=True, threshold=0.3, upper=0.01))
    await _fill(gateway, place.part, questions, size)
    for number, question in enumerate(questions):
        await _keep(gateway, version, question, number)
    load = await _load(gateway, version)
    whole: list[float] = []
    stage: list[float] = []
    embedding: list[float] = []
    missed = 0
    cpu = time.process_time()
    for question in questions:
        call = _call(version, f"Please, {question[0].lower()}{question[1:]}")
        begun = time.perf_counter()
        try:
            answer = await gateway.pipeline.answer(call)
        except ProviderError:
            missed += 1
            continue
        taken = time.perf_counter() - begun
        if answer.layer is Layer.SEMANTIC:
            whole.append(taken)
        else:
            missed += 1
    cpu = time.process_time() - cpu
    for question in questions:  # the layer alone: another wording, so that nothing of it is remembered
        trail = Trail(call=await _routed(gateway, version, f"Hello, {question}"), begun=0.0)
        begun = time.perf_counter()
        await gateway.semantic.find(trail.call, trail, _never)
        stage.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        await gateway.embedder.embed([f"Well, {question}"])
        embedding.append(time.perf_counter() - begun)
    hit, layer, embedded = Timing.of(whole), Timing.of(stage), Timing.of(embedding)
    return {
        "questions": size,
        "embedder": gateway.embedder.name,
        "hits": len(whole),
        "missed": missed,
        "hit_p50_ms": hit.p50,
        "hit_p99_ms": hit.p99,
        "hit_cpu_ms": 1_000 * cpu / len(questions),
        "layer_p50_ms": layer.p50,
        "embedding_p50_ms": embedded.p50,
        "load_s": load,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "target_ms": TARGETS_MS[size],
    }


async def _fill(gateway: Gateway, part: str, questions: list[str], size: int) -> None:
    """As another worker would have learned them: the one that is measured reads them from Redis."""
    end = time.time() + 3_600
    rng = np.random.default_rng(1)
    filler = _clustered(rng, size - len(questions), gateway.embedder.dimensions)
    async with connect(gateway.settings.cache_redis_url, timeout=5.0, connections=4) as redis:
        shelf = Shelf(RedisLine(redis, timeout=5.0), clock=gateway.clock, new_index=SimilarIndex, most=2 * size)
        for start in range(0, len(filler), 200):
            some = enumerate(filler[start : start + 200], start)
            await asyncio.gather(*(shelf.add(part, f"filler {number}", row, end, 1) for number, row in some))
        for number, question in enumerate(questions):
            (row,) = await gateway.embedder.embed([question])
            await shelf.add(part, question, row, end, fingerprint(_text(number)))
        await shelf.settle()


async def _load(gateway: Gateway, version: PromptVersion) -> float:
    """Seconds until the worker has the scope, its graphs included."""
    begun = time.perf_counter()
    while True:
        trail = Trail(call=await _routed(gateway, version, "Is anybody there?"), begun=0.0)
        await gateway.semantic.find(trail.call, trail, _never)
        if trail.notes["semantic"]["state"] != "loading":
            await gateway.semantic.settle()
            return time.perf_counter() - begun
        await gateway.semantic.settle()


async def _keep(gateway: Gateway, version: PromptVersion, question: str, number: int) -> None:
    reply = Reply(
        message={"role": "assistant", "content": _text(number)},
        finish_reason="stop",
        provider="openai",
        model="gpt-4.1-mini",
        usage=Usage(100, 20),
    )
    kept = await gateway.cache.keep(await _routed(gateway, version, question), reply)
    if kept != "kept":
        raise RuntimeError(f"an answer was not kept: {kept}")


async def _routed(gateway: Gateway, version: PromptVersion, question: str) -> Call:
    """The call as the path has it when it asks the semantic layer."""
    call = structs.replace(
        reworded(_call(version, question), "question", question),
        params=dict(version.params),
        chain=version.chain,
        collection="bench",
    )
    found = await gateway.cache.find(call, gateway.epochs.current(call.tenant, call.collection))
    return structs.replace(call, epoch=found.epoch, cuts=found.cuts)


async def _never(call: Call, candidate: Candidate) -> Reply | None:
    raise RuntimeError("no document changes here")


def _call(version: PromptVersion, question: str) -> Call:
    clock = SystemClock()
    return Call(
        id=new_id("call", clock),
        tenant="bench",
        received_at=clock.now(),
        prompt=version.name,
        version=version,
        variables={"question": question},
    )


def _version() -> PromptVersion:
    policy = SemanticPolicy(mode=SemanticMode.ON, sampled_share=0.0, judged_share=0.0)
    version = prompt_version("bench", "bench", cache=CachePolicy(semantic=policy))
    assert compared_variable(version) == "question"
    return version


def _text(number: int) -> str:
    return f"Answer number {number}: open the settings and choose what you want."


def _clustered(rng: np.random.Generator, count: int, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    """Unit vectors around centres, shape (count, dimensions)."""
    centres = rng.standard_normal((_CLUSTERS, dimensions), dtype=np.float32)
    return _unit(centres[rng.integers(0, _CLUSTERS, count)] + _noise(rng, count, dimensions, 0.6))


def _beside(rng: np.random.Generator, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Vectors near some of these, as paraphrases are."""
    some = vectors[rng.integers(0, len(vectors), count)]
    return _unit(some + _noise(rng, count, vectors.shape[1], 0.3 / np.sqrt(vectors.shape[1])))


def _noise(rng: np.random.Generator, count: int, dimensions: int, size: float) -> NDArray[np.float32]:
    return np.asarray(size * rng.standard_normal((count, dimensions), dtype=np.float32), dtype=np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _search_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("questions", "by", "p50 ms", "p99 ms", "recall@1", "build s", title="search alone")
    for row in rows:
        table.add_row(
            f"{row['questions']:,}",
            row["by"],
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            f"{row['recall_at_1']:.1%}",
            f"{row['build_s']:.1f}",
        )
    return table


def _hit_table(rows: list[dict[str, Any]]) -> Table:
    title = f"a whole hit, embedded by {rows[0]['embedder']}"
    table = Table(
        "questions",
        "hits",
        "missed",
        "p50 ms",
        "p99 ms",
        "target",
        "of it the layer",
        "of it the embedding",
        "all else",
        "CPU ms",
        "load s",
        title=title,
    )
    for row in rows:
        table.add_row(
            f"{row['questions']:,}",
            str(row["hits"]),
            str(row["missed"]),
            f"{row['hit_p50_ms']:.2f}",
            f"{row['hit_p99_ms']:.2f}",
            f"{row['target_ms']:.0f}",
            f"{row['layer_p50_ms']:.2f}",
            f"{row['embedding_p50_ms']:.2f}",
            f"{row['hit_p50_ms'] - row['embedding_p50_ms']:.2f}",
            f"{row['hit_cpu_ms']:.2f}",
            f"{row['load_s']:.1f}",
        )
    return table
