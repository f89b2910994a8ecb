"""What one look into the answer cache costs its worker, alone, without the rest of a call: CPU, which is steady.

32 looks at a time, all of them hits, by each place that may answer; with cuts read for every look, and trusted for a
moment as the gateway does.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvloop
from msgspec.structs import replace

from gateway.cache.cuts import Cuts
from gateway.cache.epochs import Epochs
from gateway.cache.exact import ExactCache
from gateway.cache.layered import LayeredCache
from gateway.cache.local import LocalEntries
from gateway.cache.trust import TrustedCuts
from gateway.clock import SystemClock
from gateway.storage.redis_line import RedisLine
from gateway.storage.redis_store import connect
from gateway.types import CachePolicy, Call, ModelRef, PromptVersion, Reply, RetrievalPolicy, Usage

AT_ONCE = 32
LOOKS = 96 * AT_ONCE
ROUNDS = 5
TIMEOUT = 1.0


@dataclass(frozen=True)
class Look:
    """Microseconds a look, medians of ``ROUNDS``: CPU of this process, and time with ``AT_ONCE`` under way."""

    policy: str
    documents: bool
    cuts: str
    cpu_us: float
    wall_us: float


def measure(cache_url: str, state_url: str, policies: Mapping[str, CachePolicy]) -> list[Look]:
    """Every policy, with and without documents, with cuts read and trusted; interleaved."""
    return uvloop.run(_measure(cache_url, state_url, policies))


async def _measure(cache_url: str, state_url: str, policies: Mapping[str, CachePolicy]) -> list[Look]:
    clock = SystemClock()
    seen: dict[tuple[str, bool, str], list[tuple[float, float]]] = {}
    async with (
        connect(cache_url, timeout=TIMEOUT, connections=4) as entries,
        connect(state_url, timeout=TIMEOUT, connections=4, guarded=True) as state,
    ):
        cache_line, state_line = RedisLine(entries, timeout=TIMEOUT), RedisLine(state, timeout=TIMEOUT)
        epochs = Epochs(state, clock=clock, timeout=TIMEOUT, line=state_line)
        read = Cuts(state, timeout=TIMEOUT, line=state_line)
        ways: Mapping[str, Any] = {"read": read, "trusted": TrustedCuts(read, clock)}
        for _ in range(ROUNDS):
            for way, cuts in ways.items():
                exact = ExactCache(
                    entries, epochs, clock=clock, entropy=random.Random(1), timeout=TIMEOUT, line=cache_line, cuts=cuts
                )
                cache = LayeredCache(exact, LocalEntries(clock), clock)
                for name, call in _calls(policies):
                    place = name, bool(call.collection), way
                    seen.setdefault(place, []).append(await _time(cache, epochs, call))
    return [
        Look(*place, statistics.median(cpu for cpu, _ in taken), statistics.median(wall for _, wall in taken))
        for place, taken in seen.items()
    ]


async def _time(cache: LayeredCache, epochs: Epochs, call: Call) -> tuple[float, float]:
    async def look() -> Any:
        return await cache.find(call, epochs.current(call.tenant, call.collection) if call.collection else None)

    async def several() -> None:
        for _ in range(LOOKS // AT_ONCE):
            await look()

    found = await look()
    kept = await cache.keep(replace(call, epoch=found.epoch, cuts=found.cuts), _reply(call))
    assert kept == "kept", kept
    await look()
    cpu, begun = time.process_time(), time.perf_counter()
    await asyncio.gather(*(several() for _ in range(AT_ONCE)))
    wall = time.perf_counter() - begun
    assert (await look()).reply is not None
    return (time.process_time() - cpu) / LOOKS * 1e6, wall / LOOKS * AT_ONCE * 1e6


def _calls(policies: Mapping[str, CachePolicy]) -> Iterator[tuple[str, Call]]:
    for documents in (False, True):
        for name, policy in policies.items():
            version = PromptVersion(
                tenant="bench",
                name=name,
                version="1.0.0",
                digest="d",
                template=({"role": "user", "content": "{{question}}"},),
                chain=(ModelRef("openai", "gpt-4.1-mini"),),
                params={"temperature": 0},
                retrieval=RetrievalPolicy("help", "{{question}}") if documents else None,
                cache=policy,
            )
            yield (
                name,
                Call(
                    id="call_1",
                    tenant="bench",
                    received_at=0.0,
                    prompt=name,
                    version=version,
                    variables={"question": "How do I get my money back for what I have never used?"},
                    params=version.params,
                    chain=version.chain,
                    collection="help" if documents else "",
                ),
            )


def _reply(call: Call) -> Reply:
    return Reply(
        message={"role": "assistant", "content": "An answer of a usual length says a thing or two. " * 20},
        finish_reason="stop",
        provider="openai",
        model="gpt-4.1-mini",
        usage=Usage(300, 200),
        documents=("doc:help/refunds@3",) if call.collection else (),
    )
