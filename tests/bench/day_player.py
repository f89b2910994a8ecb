"""Asks one question after the other, a few at a time, of gateways in turn, and says what came back."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import aiohttp

IN_FLIGHT = 8


@dataclass(frozen=True)
class Played:
    """One answer: which layer gave it, after how many milliseconds."""

    text: str
    layer: str
    ms: float


def play(
    addresses: Sequence[str], key: str, prompt: str, questions: Sequence[str], cache: str = "default"
) -> list[Played]:
    """In order. ``cache``: what the calls ask of it. Raises ``aiohttp.ClientError`` at the first without an answer."""
    return asyncio.run(_play(addresses, key, prompt, questions, cache))


async def _play(addresses: Sequence[str], key: str, prompt: str, questions: Sequence[str], cache: str) -> list[Played]:
    found: list[Played | None] = [None] * len(questions)
    waiting: Iterator[tuple[int, tuple[str, str]]] = enumerate(zip(questions, itertools.cycle(addresses), strict=False))
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(60), raise_for_status=True) as web:

        async def user() -> None:
            for place, (question, address) in waiting:
                found[place] = await _ask(web, address, prompt, question, f"user-{place}", cache)

        await asyncio.gather(*(user() for _ in range(IN_FLIGHT)))
    return [one for one in found if one is not None]


async def _ask(web: aiohttp.ClientSession, address: str, prompt: str, question: str, user: str, cache: str) -> Played:
    body = {
        "model": f"prompt:{prompt}",
        "messages": [],
        "variables": {"question": question},
        "user": user,
        "promptyard": {"cache": cache},
    }
    begun = time.perf_counter()
    async with web.post(f"{address}/v1/chat/completions", json=body) as response:
        answer = await response.json()
    ms = (time.perf_counter() - begun) * 1000
    return Played(answer["choices"][0]["message"]["content"], answer["promptyard"]["cache"]["layer"], ms)
