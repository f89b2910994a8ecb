"""Latency without waiting for it: sleeps are recorded, not slept."""

import httpx
import pytest

from infra.simulator.app import build_app
from infra.simulator.faults import Latency

HEADERS = {"authorization": "Bearer k"}
ASK = [{"role": "user", "content": 'Say "one two three four five six seven eight nine ten eleven twelve"'}]


class Sleeps:
    """Stands in for ``asyncio.sleep``."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def _call(rule: dict[str, object], model: str = "gpt-4.1-mini", **fields: object) -> list[float]:
    sleeps = Sleeps()
    app = build_app(seed=1, latency=Latency(10, 10), sleep=sleeps)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator") as client:
        if rule:
            await client.put("/admin/faults", json=rule)
        await client.post("/v1/chat/completions", json={"model": model, "messages": ASK} | fields, headers=HEADERS)
    return sleeps.seconds


async def test_an_answer_takes_its_latency() -> None:
    assert await _call({"latency_ms": 250}) == [0.25]


@pytest.mark.parametrize(("model", "seconds"), [("gpt-4.1", 0.016), ("gpt-4.1-mini", 0.010), ("gpt-4.1-nano", 0.006)])
async def test_larger_models_are_slower(model: str, seconds: float) -> None:
    assert await _call({}, model) == [pytest.approx(seconds)]


async def test_a_stream_spreads_its_latency() -> None:
    pauses = await _call({"latency_ms": 1000}, stream=True)

    assert pauses[0] == pytest.approx(0.4)
    assert 0.9 < sum(pauses) < 1.2


async def test_the_first_token_can_be_slow_on_its_own() -> None:
    pauses = await _call({"latency_ms": 0, "first_token_ms": 2000}, stream=True)

    assert pauses[0] == 2.0
    assert sum(pauses) == 2.0


async def test_equal_seeds_give_equal_latencies() -> None:
    async def run(seed: int) -> list[float]:
        sleeps = Sleeps()
        app = build_app(seed=seed, sleep=sleeps)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://simulator") as client:
            for _ in range(5):
                await client.post("/v1/chat/completions", json={"model": "m", "messages": ASK}, headers=HEADERS)
        return sleeps.seconds

    assert await run(3) == await run(3) != await run(4)
