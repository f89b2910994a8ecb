"""One question is embedded once, and gets the vector that the embedder gave."""

import numpy as np

from gateway.embedding.remembered import A_FEW, Remembering
from tests.gateway.embedding.fakes import FakeModel


async def test_a_text_that_was_just_embedded_is_not_embedded_again() -> None:
    model = FakeModel()
    one = Remembering(model)
    first = await one.embed(["a", "b"])
    again = await one.embed(["b", "c", "a"])
    assert model.requests == [["a", "b"], ["c"]]
    assert np.array_equal(again[[2, 0]], first)
    assert (one.name, one.dimensions) == (model.name, model.dimensions)


async def test_its_rows_are_the_callers_to_change() -> None:
    one = Remembering(FakeModel())
    first = await one.embed(["a"])
    before = first.copy()
    first[:] = 0.0
    assert np.array_equal(await one.embed(["a"]), before)


async def test_the_oldest_are_forgotten() -> None:
    model = FakeModel()
    one = Remembering(model, most=2)
    for text in ("a", "b", "c", "a"):
        await one.embed([text])
    assert model.requests == [["a"], ["b"], ["c"], ["a"]]


async def test_many_texts_at_once_and_none_are_passed_on() -> None:
    model = FakeModel()
    one = Remembering(model)
    texts = [str(number) for number in range(A_FEW + 1)]
    assert len(await one.embed(texts)) == len(texts)
    await one.embed(texts[:1])
    assert model.requests == [texts, texts[:1]]


async def test_a_failure_is_not_remembered() -> None:
    model = FakeModel()
    model.failures.append(OSError("gone"))
    one = Remembering(model)
    try:
        await one.embed(["a"])
    except OSError:
        pass
    else:
        raise AssertionError("the failure was swallowed")
    assert len(await one.embed(["a"])) == 1
    await one.aclose()
    assert model.closed
