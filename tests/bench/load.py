"""A closed loop of connections against one URL, bounded in time."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Load:
    """Calls a second, and latency quantiles in milliseconds of the calls that were answered with 200."""

    rate: float
    p50: float
    p99: float
    errors: int


def quantile(values: list[float], share: float) -> float:
    """Nearest rank; NaN without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


async def load(
    url: str, headers: Mapping[str, str], body: Callable[[int], Mapping[str, Any]], *, connections: int, seconds: float
) -> Load:
    """``body`` gives the JSON of the n-th call."""
    taken: list[float] = []
    errors = 0
    count = 0
    deadline = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=dict(headers)) as session:

        async def work() -> None:
            nonlocal count, errors
            while (begun := time.perf_counter()) < deadline:
                count += 1
                async with session.post(url, json=body(count)) as answer:
                    await answer.read()
                    if answer.status == 200:
                        taken.append((time.perf_counter() - begun) * 1000)
                    else:
                        errors += 1

        await asyncio.gather(*(work() for _ in range(connections)))
    return Load(len(taken) / seconds, quantile(taken, 0.5), quantile(taken, 0.99), errors)
