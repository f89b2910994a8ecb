"""Making kept answers anew: once for a key, boundedly many, and seen to their end."""

import asyncio

from gateway.refreshing import Refresher
from tests.gateway.cache.specimens import MANAGED


class Making:
    def __init__(self) -> None:
        self.begun: list[float] = []
        self.go_on = asyncio.Event()

    async def __call__(self, call: object, expires_at: float) -> None:
        self.begun.append(expires_at)
        await self.go_on.wait()


async def test_once_for_all_callers_of_a_key_and_boundedly_many() -> None:
    making = Making()
    refresher = Refresher(making, max_tasks=2)
    assert [refresher.begin(key, MANAGED, 1.0) for key in ("a", "a", "b", "c", "b")] == [True, True, True, False, True]
    await asyncio.sleep(0)
    assert making.begun == [1.0, 1.0]
    making.go_on.set()
    await refresher.settle()
    assert len(refresher) == 0
    assert refresher.begin("c", MANAGED, 2.0)
    await refresher.settle()


async def test_what_fails_and_what_is_stopped_gives_its_place_back() -> None:
    async def fail(call: object, expires_at: float) -> None:
        raise RuntimeError("recorded by whoever makes it")

    refresher = Refresher(fail, max_tasks=1)
    assert refresher.begin("a", MANAGED, 1.0)
    await refresher.settle()
    making = Making()
    refresher = Refresher(making, max_tasks=1)
    assert refresher.begin("a", MANAGED, 1.0)
    await refresher.stop()
    assert len(refresher) == 0
