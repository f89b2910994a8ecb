"""Tries of an embedding model: how many, when, and when none."""

import random
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.embedding.resilient import Resilient
from gateway.errors import (
    BreakerOpen,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRejectedRequest,
    ProviderTimeout,
)
from gateway.providers.breaker import Breaker
from gateway.providers.retry import RetryBudget
from gateway.settings import ChainSettings
from gateway.types import ModelRef
from tests.gateway.embedding.fakes import FakeModel

REF = ModelRef("fake", "model")


class Trial:
    """A model that fails as told behind its resilience; waits are noted and move the clock."""

    def __init__(self, *failures: ProviderError, ratio: float = 1.0, **bounds: Any) -> None:
        self.clock = ManualClock()
        self.waits: list[float] = []
        self.inner = FakeModel()
        self.inner.failures = list(failures)
        limits = ChainSettings.model_validate(
            {"backoff_base": 1, "backoff_cap": 2, "max_attempts_per_link": 3} | bounds
        )
        self.breaker = Breaker(limits.breaker_failures, limits.breaker_cooldown, self.clock)
        self.model = Resilient(
            self.inner,
            REF,
            limits,
            circuit=self.breaker,
            budget=RetryBudget(ratio),
            clock=self.clock,
            entropy=random.Random(1),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)


async def test_it_tries_again_and_tells_of_every_try() -> None:
    trial = Trial(ProviderOverloaded("busy"), ProviderTimeout("late"))
    answer = await trial.model.answer(["a"])
    assert [attempt.error for attempt in answer.attempts] == ["provider_overloaded", "provider_timeout", ""]
    assert {(attempt.provider, attempt.model) for attempt in answer.attempts} == {("fake", "model")}
    assert len(trial.waits) == 2
    assert 0 <= trial.waits[0] <= 1 and 0 <= trial.waits[1] <= 2  # noqa: PT018 (one statement about two waits)


async def test_it_gives_up_after_so_many_and_the_error_tells_of_them() -> None:
    trial = Trial(*[ProviderOverloaded(str(n)) for n in range(9)])
    with pytest.raises(ProviderOverloaded, match="2") as failure:
        await trial.model.answer(["a"])
    assert len(trial.inner.requests) == 3
    assert len(failure.value.attempts) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "bounds", "ratio"),
    [
        (ProviderRejectedRequest("wrong"), {}, 1.0),
        (ProviderRateLimited("later", retry_after=20), {"total_timeout": 30}, 1.0),  # more than half of the time left
        (ProviderOverloaded("busy"), {}, 0.0),
        (ProviderOverloaded("busy"), {"max_attempts_per_link": 1}, 1.0),
    ],
)
async def test_where_a_second_try_is_none(error: ProviderError, bounds: dict[str, Any], ratio: float) -> None:
    trial = Trial(error, ratio=ratio, **bounds)
    with pytest.raises(type(error)):
        await trial.model.answer(["a"])
    assert (len(trial.inner.requests), trial.waits) == (1, [])


async def test_retry_after_is_never_undercut() -> None:
    trial = Trial(ProviderRateLimited("later", retry_after=5))
    await trial.model.answer(["a"])
    assert trial.waits[0] >= 5


async def test_a_model_that_keeps_failing_is_left_alone_until_a_probe_succeeds() -> None:
    trial = Trial(*[ProviderOverloaded("busy")] * 2, max_attempts_per_link=1, breaker_failures=2, breaker_cooldown=5)
    for _ in range(2):
        with pytest.raises(ProviderOverloaded):
            await trial.model.answer(["a"])
    with pytest.raises(BreakerOpen) as failure:
        await trial.model.answer(["a"])
    assert len(trial.inner.requests) == 2
    assert failure.value.retry_after == 5
    trial.clock.advance(5)
    await trial.model.answer(["a"])
    await trial.model.answer(["a"])
    assert len(trial.inner.requests) == 4


async def test_refusals_do_not_open_the_breaker() -> None:
    trial = Trial(breaker_failures=1)
    for _ in range(3):
        with pytest.raises(ProviderRejectedRequest):
            await trial.model.answer(["bad"])
    assert len(trial.inner.requests) == 3


async def test_silence_ends_in_time_and_counts_against_the_model() -> None:
    trial = Trial(total_timeout=0.01, breaker_failures=1, max_attempts_per_link=1)
    trial.inner.hold()
    with pytest.raises(ProviderTimeout):
        await trial.model.embed(["a"])
    with pytest.raises(BreakerOpen):
        await trial.model.embed(["a"])
    assert (trial.model.name, trial.model.dimensions) == ("fake/model", 2)
    await trial.model.aclose()
    assert trial.inner.closed
