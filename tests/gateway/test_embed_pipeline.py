"""The path of an embedding call: recorded once, however it ends, at its price."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.embed_pipeline import EmbedPipeline, Model
from gateway.embedding.catalogue import LEXICAL
from gateway.errors import (
    ClientGone,
    PromptyardError,
    ProviderOverloaded,
    ProviderTimeout,
    RateLimited,
    UnknownModel,
)
from gateway.limits.estimate import likely_tokens
from gateway.trail import Trail
from gateway.types import Answer, Call, Cost, Layer, ModelRef, Usage
from tests.gateway.embedding.fakes import FakeModel, turns


class Book:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.failures: list[PromptyardError] = []
        self.refusals: list[PromptyardError] = []
        self.costs: list[Decimal | None] = []

    def answered(self, answer: Answer, trail: Trail) -> None:
        self.answers.append(answer)

    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None:
        self.failures.append(error)
        self.costs.append(trail.cost().usd)

    def refused(self, call: Call, error: PromptyardError) -> None:
        self.refusals.append(error)


class Till:
    """Limits that remember; ``refuse`` is raised by the next question to them."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.refuse: dict[str, PromptyardError] = {}

    async def admit(self, call: Call) -> None:
        self._tell("admit", call.id)

    async def reserve(self, call: Call) -> str:
        self._tell("reserve", likely_tokens(call.messages, call.params, 999))
        return "reservation"

    async def settle(self, reservation: str, usage: Usage, usd: Decimal | None) -> None:
        self._tell("settle", (usage.input_tokens, usd))

    async def release(self, reservation: str) -> None:
        self._tell("release", None)

    def _tell(self, name: str, value: Any) -> None:
        if name in self.refuse:
            raise self.refuse[name]
        self.told.append((name, value))


class OneModel:
    def __init__(self) -> None:
        self.model = FakeModel()

    def find(self, ref: ModelRef, options: Mapping[str, Any]) -> Model:
        if ref.provider not in ("acme", LEXICAL.provider):
            raise UnknownModel("no such model")
        return self.model


def a_cent_each(provider: str, model: str, usage: Usage, at: float) -> Cost:
    return Cost(usd=usage.input_tokens * Decimal("0.01"))


def a_call(model: str = "acme/small") -> Call:
    return Call(id="call_1", tenant="acme", received_at=1.0, kind="embedding", model=model)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def models() -> OneModel:
    return OneModel()


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def pipeline(book: Book, models: OneModel, till: Till) -> EmbedPipeline:
    return EmbedPipeline(models=models, limits=till, recorder=book, price=a_cent_each, clock=ManualClock())


async def test_an_answer_is_recorded_with_what_it_took(pipeline: EmbedPipeline, book: Book, till: Till) -> None:
    made = await pipeline.embed(a_call(), ["one", "three"])
    assert made.vectors.shape == (2, 2)
    assert book.answers == [made.answer]
    assert made.answer.reply.usage == Usage(input_tokens=8)
    assert (made.answer.paid_usd, made.answer.layer) == (Decimal("0.08"), Layer.NONE)
    assert [(one.provider, one.model) for one in made.answer.reply.attempts] == [("acme", "small")]
    assert [name for name, _ in till.told] == ["admit", "reserve", "settle"]
    assert till.told[-1] == ("settle", (8, Decimal("0.08")))


async def test_reserved_is_what_is_sent(pipeline: EmbedPipeline, till: Till) -> None:
    await pipeline.embed(a_call(), ["x" * 4_000])
    assert 1_000 <= dict(till.told)["reserve"] <= 1_050  # tokens: of the text, and of hardly any output


@pytest.mark.parametrize("stage", ["admit", "reserve"])
async def test_beyond_a_limit_nobody_is_asked_and_nothing_recorded(
    pipeline: EmbedPipeline, book: Book, models: OneModel, till: Till, stage: str
) -> None:
    till.refuse[stage] = RateLimited("too many", retry_after=3)
    with pytest.raises(RateLimited):
        await pipeline.embed(a_call(), ["one"])
    assert models.model.requests == []
    assert (book.answers, book.failures, len(book.refusals)) == ([], [], 1)


async def test_the_built_in_model_costs_nothing(pipeline: EmbedPipeline, till: Till) -> None:
    made = await pipeline.embed(a_call(str(LEXICAL)), ["one"])
    assert made.answer.paid_usd == Decimal(0)
    assert till.told == [("admit", "call_1")]


async def test_what_no_model_was_found_for_is_not_recorded(pipeline: EmbedPipeline, book: Book) -> None:
    with pytest.raises(UnknownModel):
        await pipeline.embed(a_call("nobody/small"), ["one"])
    assert (book.answers, book.failures) == ([], [])


@pytest.mark.parametrize(
    ("error", "code", "cost"),
    [
        (ProviderOverloaded("busy"), "provider_overloaded", Decimal(0)),
        (ProviderTimeout("late"), "provider_timeout", None),  # whether it was charged nobody knows
        (ZeroDivisionError("?"), "internal_error", None),
    ],
)
async def test_a_failure_is_recorded(
    pipeline: EmbedPipeline,
    book: Book,
    models: OneModel,
    till: Till,
    error: Exception,
    code: str,
    cost: Decimal | None,
) -> None:
    models.model.failures = [error]
    with pytest.raises(type(error)):
        await pipeline.embed(a_call(), ["one"])
    assert [one.code for one in book.failures] == [code]
    assert (book.answers, book.costs) == ([], [cost])
    assert till.told[-1][0] == ("release" if cost is not None else "reserve")  # what may be charged stays reserved


async def test_who_leaves_is_recorded(pipeline: EmbedPipeline, book: Book, models: OneModel, till: Till) -> None:
    models.model.hold()
    task = asyncio.create_task(pipeline.embed(a_call(), ["one"]))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(one) for one in book.failures] == [ClientGone]
    assert till.told[-1][0] == "reserve"
