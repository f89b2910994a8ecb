"""Which embedding models there are, and when they are made."""

import random

import pytest

from gateway.clock import ManualClock
from gateway.embedding.base import EmbeddingModel, Options
from gateway.embedding.batching import MicroBatcher
from gateway.embedding.build import build_catalogue
from gateway.embedding.catalogue import LEXICAL, Catalogue
from gateway.errors import InvalidRequest, UnknownModel
from gateway.providers.breaker import Breaker
from gateway.providers.retry import RetryBudget
from gateway.settings import ProviderSettings, Settings
from gateway.types import ModelRef
from tests.gateway.embedding.fakes import FakeModel


class Making:
    """A maker that remembers what it made."""

    def __init__(self) -> None:
        self.made: list[tuple[ModelRef, Options]] = []

    def __call__(self, ref: ModelRef, options: Options) -> EmbeddingModel:
        self.made.append((ref, options))
        return FakeModel()


async def test_the_same_model_under_the_same_options_is_one() -> None:
    making = Making()
    catalogue = Catalogue({"acme": making})
    ref = ModelRef("acme", "small")
    first = catalogue.find(ref, {"dimensions": 8, "input_type": "query"})
    assert catalogue.find(ref, {"input_type": "query", "dimensions": 8}) is first
    assert catalogue.find(ref, {"dimensions": 8}) is not first
    assert catalogue.find(ModelRef("acme", "large"), {"dimensions": 8}) is not first
    assert len(making.made) == 3


async def test_the_table_does_not_grow_with_the_names_that_callers_think_up() -> None:
    making = Making()
    catalogue = Catalogue({"acme": making})
    first = ModelRef("acme", "0")
    for number in range(100):
        catalogue.find(ModelRef("acme", str(number)), {})
        catalogue.find(first, {})
    assert len(making.made) == 100  # the one in use was kept
    catalogue.find(ModelRef("acme", "1"), {})
    assert len(making.made) == 101  # one that was not used for long was not


async def test_the_built_in_one_needs_nothing() -> None:
    catalogue = Catalogue({})
    answer = await catalogue.find(LEXICAL, {"dimensions": 32}).answer(["some words"])
    assert answer.vectors.shape == (1, 32)
    assert answer.tokens == (3,)
    with pytest.raises(InvalidRequest):
        await catalogue.find(LEXICAL, {}).answer([[1, 2]])


@pytest.mark.parametrize(
    ("ref", "options", "error"),
    [
        (ModelRef("promptyard", "other"), {}, UnknownModel),
        (ModelRef("nobody", "small"), {}, UnknownModel),
        (LEXICAL, {"dimensions": 15}, InvalidRequest),
        (LEXICAL, {"dimensions": 9000}, InvalidRequest),
        (LEXICAL, {"input_type": "query"}, InvalidRequest),
        (LEXICAL, {"note": "x" * 2_000}, InvalidRequest),
    ],
)
def test_what_there_is_not(ref: ModelRef, options: Options, error: type[Exception]) -> None:
    with pytest.raises(error):
        Catalogue({}).find(ref, options)


async def test_the_settings_name_providers_and_the_default() -> None:
    clock = ManualClock()
    settings = Settings(
        embedder="openai",
        embedding_model="mine/m-1",
        providers={"mine": ProviderSettings(base_url="http://127.0.0.1:9/v1")},
    )
    catalogue = build_catalogue(
        settings,
        circuit=lambda: Breaker(5, 5, clock),
        budget=RetryBudget(0.2),
        clock=clock,
        entropy=random.Random(1),
    )
    assert catalogue.providers == {"openai", "mine", "promptyard"}
    assert catalogue.listed == (ModelRef("mine", "m-1"), LEXICAL)
    model = catalogue.find(catalogue.default, {})
    assert (type(model), model.name) == (MicroBatcher, "mine/m-1")
    await catalogue.aclose()
