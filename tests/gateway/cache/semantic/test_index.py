"""The index in memory against a search through everything, whatever was added, dropped, sealed or has ended."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cache.semantic.blocks import build_graph, graphs_available
from gateway.cache.semantic.index import SimilarIndex
from tests.gateway.cache.semantic.vectors import ExactGraph, unit

NOW = 1_000.0
ACTIONS = st.lists(
    st.tuples(st.sampled_from(("add", "drop", "seal")), st.integers(0, 40), st.sampled_from((NOW - 1, NOW + 1))),
    max_size=120,
)


@settings(deadline=None, max_examples=60)
@given(ACTIONS, st.sampled_from((5, 16, 64)), st.booleans())
def test_it_finds_what_a_search_through_everything_finds(actions: list[Any], block: int, graphs: bool) -> None:
    asyncio.run(_compare(actions, block, graphs))


async def _compare(actions: list[Any], block: int, graphs: bool) -> None:
    index = SimilarIndex(block=block, most=10_000, build=ExactGraph if graphs else None)
    alive: dict[str, float] = {}
    for action, number, end in actions:
        text = f"question {number}"
        if action == "add":
            index.add(text, unit(12, number), end)
            alive[text] = max(end, alive.get(text, 0.0))
        elif action == "drop":
            index.drop(text)
            alive.pop(text, None)
        else:
            await index.seal()
    asked = unit(12, 7)
    expected = sorted(
        ((float(unit(12, int(text.split()[1])) @ asked), text) for text, end in alive.items() if end > NOW),
        reverse=True,
    )
    # What has ended takes places among the nearest until it was met once.
    for _ in range(8):
        found = await index.nearest(asked, 50, NOW)
    assert [one.text for one in found] == [text for _, text in expected]
    assert [one.similarity for one in found] == pytest.approx([score for score, _ in expected], abs=1e-5)


async def test_the_oldest_block_goes_when_there_are_too_many() -> None:
    index = SimilarIndex(block=10, most=30)
    for number in range(35):
        index.add(str(number), unit(12, number), NOW + 1)
    assert len(index) == 25
    assert "9" not in index
    assert "10" in index


@settings(deadline=None, max_examples=80)
@given(st.lists(st.sampled_from(("add", "drop", "seal")), max_size=150), st.integers(0, 3), st.booleans())
def test_what_is_forgotten_is_the_oldest_and_is_never_found(actions: list[str], seed: int, sealed: bool) -> None:
    asyncio.run(_forget(actions, seed, sealed))


async def _forget(actions: list[str], seed: int, sealed: bool) -> None:
    """Blocks of 4, at most 24 questions: joined graphs of up to three blocks lose their oldest ones, one by one."""
    draw = np.random.default_rng(seed)
    index = SimilarIndex(block=4, most=24, build=ExactGraph if sealed else None)
    known: list[str] = []
    for action in actions:
        if action == "add":
            known.append(str(len(known)))
            index.add(known[-1], unit(12, len(known) - 1), NOW + 1)
        elif action == "drop" and known:
            index.drop(known[int(draw.integers(len(known)))])
        elif action == "seal":
            await index.seal()
    here = [text for text in known if text in index]
    assert len(here) == len(index) <= 24
    newest = known[-20:]
    assert set(here) <= set(known[-24:])
    for text in newest[-8:]:
        found = [one.text for one in await index.nearest(unit(12, int(text)), 24, NOW)]
        assert set(found) <= set(here)
        assert (found[:1] == [text]) == (text in index)


async def test_blocks_join_the_graph_before_them_up_to_a_bound() -> None:
    index = SimilarIndex(block=10, most=80, build=ExactGraph)
    for number in range(75):
        index.add(str(number), unit(12, number), NOW + 1)
        if number == 34:
            await index.seal()
            views = [block.view() for block in index._blocks]
            assert [view.block.count for view in views] == [30, 5]
    await index.seal()
    assert [block.count for block in index._blocks] == [30, 30, 10, 5]
    for number in range(75, 95):
        index.add(str(number), unit(12, number), NOW + 1)
    assert (index._blocks[0].first, index._blocks[0].count) == (20, 30)
    assert "19" not in index
    assert "20" in index
    assert (await index.nearest(unit(12, 20), 1, NOW))[0].text == "20"
    assert (await index.nearest(unit(12, 19), 1, NOW))[0].text != "19"
    index.drop("25")
    assert (await index.nearest(unit(12, 25), 1, NOW))[0].text != "25"


async def test_a_block_that_was_sealed_alone_while_its_neighbour_was_forgotten_is_found() -> None:
    """What joins a graph that is gone when it is ready is sealed anew."""
    index = SimilarIndex(block=4, most=12)
    forgotten = False

    def build(matrix: Any, before: Any) -> ExactGraph:
        nonlocal forgotten
        if before is not None and not forgotten:
            forgotten = True
            for number in range(100, 108):
                index.add(str(number), unit(12, number), NOW + 1)
        return ExactGraph(matrix, before)

    index._build = build
    for number in range(8):
        index.add(str(number), unit(12, number), NOW + 1)
    await index.seal()
    assert forgotten
    for text in [str(number) for number in (*range(8), *range(100, 108))]:
        if text in index:
            assert (await index.nearest(unit(12, int(text)), 1, NOW))[0].text == text
    assert len(index) == 12


async def test_a_vector_of_another_model_is_passed_over() -> None:
    index = SimilarIndex()
    index.add("a", unit(12, 1), NOW + 1)
    index.add("b", unit(13, 2), NOW + 1)
    assert len(index) == 1
    assert await index.nearest(unit(13, 2), 5, NOW) == []


async def test_full_blocks_are_searched_by_their_graph_and_give_their_vectors_back() -> None:
    built: list[ExactGraph] = []

    def build(matrix: Any, before: Any) -> ExactGraph:
        built.append(ExactGraph(matrix, before))
        return built[-1]

    index = SimilarIndex(block=10, build=build)
    for number in range(25):
        index.add(str(number), unit(12, number), NOW + 1)
    assert index.sealable
    await index.seal()
    assert not index.sealable
    assert len(built) == 2
    index.drop("3")
    found = await index.nearest(unit(12, 3), 3, NOW)
    assert [graph.searches for graph in built] == [0, 1], "one graph has both"
    assert "3" not in [one.text for one in found]
    assert (await index.nearest(unit(12, 24), 1, NOW))[0].text == "24"


async def test_a_large_matrix_is_multiplied_in_a_thread_and_finds_the_same() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((9_000, 1_024)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = SimilarIndex()
    for number, vector in enumerate(vectors):
        index.add(str(number), vector, NOW + 1)
    assert index.cells > 8_000_000
    assert [one.text for one in await index.nearest(vectors[4_321], 1, NOW)] == ["4321"]


@pytest.mark.skipif(not graphs_available(), reason="FAISS is not installed")
async def test_a_real_graph_finds_nearly_everything() -> None:
    index = SimilarIndex(block=2_000, build=build_graph)
    for number in range(4_000):
        index.add(str(number), unit(32, number), NOW + 1)
    await index.seal()
    met = [(await index.nearest(unit(32, number), 1, NOW))[0].text == str(number) for number in range(0, 4_000, 40)]
    assert sum(met) >= 0.95 * len(met)


@pytest.mark.skipif(not graphs_available(), reason="FAISS is not installed")
async def test_a_real_graph_that_has_forgotten_its_oldest_finds_nearly_all_others() -> None:
    index = SimilarIndex(block=500, most=1_500, build=build_graph)
    for number in range(1_500):
        index.add(str(number), unit(32, number), NOW + 1)
    await index.seal()
    for number in range(1_500, 2_100):
        index.add(str(number), unit(32, number), NOW + 1)
    assert ("999" in index, "1000" in index) == (False, True)
    for number in range(0, 1_000, 50):
        assert int((await index.nearest(unit(32, number), 1, NOW))[0].text) >= 1_000
    met = [(await index.nearest(unit(32, number), 1, NOW))[0].text == str(number) for number in range(1_000, 2_100, 20)]
    assert sum(met) >= 0.95 * len(met)


async def test_a_large_open_block_is_searched_by_sketches_and_finds_the_same() -> None:
    draw = np.random.default_rng(3)
    centres = draw.standard_normal((300, 384), dtype=np.float32)
    vectors = centres[draw.integers(0, 300, 4_000)] + 0.6 * draw.standard_normal((4_000, 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = SimilarIndex()
    for number, vector in enumerate(vectors):
        index.add(str(number), vector, NOW + 1)
    for number in range(0, 4_000, 7):  # what was taken out is not found by its sketch either
        index.drop(str(number))
    left = np.array([number for number in range(4_000) if number % 7])
    for number in range(100, 140):
        asked = vectors[number] + 0.01 * draw.standard_normal(384, dtype=np.float32)
        truth = left[np.argsort(vectors[left] @ asked)[::-1][:5]]
        found = await index.nearest(asked, 5, NOW)
        assert [int(one.text) for one in found] == truth.tolist()
        assert [one.similarity for one in found] == pytest.approx((vectors[truth] @ asked).tolist(), abs=1e-5)
