"""A time-out that is shared: nobody waits for ever, and a cancellation from elsewhere stays one."""

import asyncio

import pytest

from gateway.api.patience import Patience


async def test_who_waits_too_long_is_told_and_others_go_on() -> None:
    patience = Patience(0.05)
    ended: list[str] = []

    async def late() -> None:
        with pytest.raises(TimeoutError):
            async with patience.wait():
                await asyncio.Event().wait()
        ended.append("late")

    async def quick() -> None:
        async with patience.wait():
            await asyncio.sleep(0)
        ended.append("quick")

    await asyncio.gather(late(), quick(), late())
    assert ended == ["quick", "late", "late"]
    async with patience.wait():
        ended.append("again")
    assert ended[-1] == "again"


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    patience = Patience(60)

    async def waits() -> None:
        async with patience.wait():
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_within_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with Patience(60).wait():
            raise KeyError("x")
