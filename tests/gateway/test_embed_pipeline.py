"""The path of an embedding call: recorded once, however it ends, at its price."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.embed_pipeline import EmbedPipeline, Model
from gateway.embedding.catalogue import LEXICAL
from gateway.errors import ClientGone, PromptyardError, ProviderOverloaded, UnknownModel
from gateway.trail import Trail
from gateway.types import Answer, Call, Cost, Layer, ModelRef, Usage
from tests.gateway.embedding.fakes import FakeModel, turns


class Book:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.failures: list[PromptyardError] = []

    def answered(self, answer: Answer, trail: Trail) -> None:
        self.answers.append(answer)

    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None:
        self.failures.append(error)


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
def pipeline(book: Book, models: OneModel) -> EmbedPipeline:
    return EmbedPipeline(models=models, recorder=book, price=a_cent_each, clock=ManualClock())


async def test_an_answer_is_recorded_with_what_it_took(pipeline: EmbedPipeline, book: Book) -> None:
    made = await pipeline.embed(a_call(), ["one", "three"])
    assert made.vectors.shape == (2, 2)
    assert book.answers == [made.answer]
    assert made.answer.reply.usage == Usage(input_tokens=8)
    assert (made.answer.paid_usd, made.answer.layer) == (Decimal("0.08"), Layer.NONE)
    assert [(one.provider, one.model) for one in made.answer.reply.attempts] == [("acme", "small")]


async def test_the_built_in_model_costs_nothing(pipeline: EmbedPipeline) -> None:
    made = await pipeline.embed(a_call(str(LEXICAL)), ["one"])
    assert made.answer.paid_usd == Decimal(0)


async def test_what_no_model_was_found_for_is_not_recorded(pipeline: EmbedPipeline, book: Book) -> None:
    with pytest.raises(UnknownModel):
        await pipeline.embed(a_call("nobody/small"), ["one"])
    assert (book.answers, book.failures) == ([], [])


@pytest.mark.parametrize(
    ("error", "code"), [(ProviderOverloaded("busy"), "provider_overloaded"), (ZeroDivisionError("?"), "internal_error")]
)
async def test_a_failure_is_recorded(
    pipeline: EmbedPipeline, book: Book, models: OneModel, error: Exception, code: str
) -> None:
    models.model.failures = [error]
    with pytest.raises(type(error)):
        await pipeline.embed(a_call(), ["one"])
    assert [one.code for one in book.failures] == [code]
    assert book.answers == []


async def test_who_leaves_is_recorded(pipeline: EmbedPipeline, book: Book, models: OneModel) -> None:
    models.model.hold()
    task = asyncio.create_task(pipeline.embed(a_call(), ["one"]))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [type(one) for one in book.failures] == [ClientGone]
