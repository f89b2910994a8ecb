"""An index that grows change by change says what brute force over the documents says, and so do its older snapshots."""

import threading
from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.embedding.base import Vectors
from gateway.retrieval.index import Index, LoadedDocument
from gateway.retrieval.ranking import choose
from gateway.types import Passage

DIMENSIONS = 4
_DIRECTIONS = np.random.default_rng(5).normal(size=(6, DIMENSIONS)).astype(np.float32)
DIRECTIONS = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
"""Few, so that scores tie."""

ids = st.sampled_from(["a", "b", "c", "d", "e", "f"])
directions = st.lists(st.integers(0, len(DIRECTIONS) - 1), min_size=1, max_size=40)
put = st.tuples(st.just("put"), ids, directions)
delete = st.tuples(st.just("delete"), ids, st.just([]))
rename = st.tuples(st.just("rename"), ids, ids.map(ord).map(lambda code: [code]))
thrown_away = st.tuples(st.just("thrown away"), ids, directions)
changes = st.lists(st.lists(st.one_of(put, put, delete, rename, thrown_away), min_size=1, max_size=4), max_size=30)

Documents = Mapping[str, LoadedDocument]


def document(id: str, version: int, rows: list[int]) -> LoadedDocument:
    vectors = DIRECTIONS[rows] if rows else np.zeros((0, 0), dtype=np.float32)
    return LoadedDocument(id, version, id.upper(), [f"{id}@{version} says {row}" for row in rows], vectors)


def brute_force(documents: Documents, questions: Vectors, top_k: int, per_document: int) -> list[Passage]:
    """As ``choose`` over a matrix made anew, in order of (document id, seq)."""
    kept = [documents[id] for id in sorted(documents) if documents[id].texts]
    if not kept:
        return []
    owners = np.repeat(np.arange(len(kept), dtype=np.int32), [len(one.texts) for one in kept])
    scores = np.concatenate([one.vectors for one in kept]) @ questions.T
    chunks = [(one, text) for one in kept for text in one.texts]
    return [
        Passage(one.id, one.version, one.title, text, score)
        for row, score in choose(scores, owners, top_k, per_document)
        for one, text in [chunks[row]]
    ]


def found(index: Index, questions: Vectors, top_k: int, per_document: int) -> list[Passage]:
    chosen = choose(index.scores(questions), index.owners, top_k, per_document, index.place)
    return [index.passage(row, score) for row, score in chosen]


@settings(max_examples=150, deadline=None)
@given(changes, st.integers(1, 12), st.integers(1, 4), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_every_snapshot_stays_what_it_was(
    batches: list[list[tuple[str, str, list[int]]]], top_k: int, per_document: int, asked: list[int]
) -> None:
    questions = DIRECTIONS[asked]
    index, documents = Index(), dict[str, LoadedDocument]()
    snapshots = [(index, dict(documents))]
    for revision, batch in enumerate(batches, 1):
        changed: dict[str, LoadedDocument] = {}
        lost: dict[str, LoadedDocument] = {}
        for what, id, rows in batch:
            if what == "rename":
                there = (documents | changed).get(id)
                changed[id] = document(id, revision, [])
                if there and there.texts and chr(rows[0]) != id:
                    changed[chr(rows[0])] = LoadedDocument(
                        chr(rows[0]), revision, there.title, there.texts, there.vectors
                    )
            elif what == "thrown away":
                lost[id] = document(id, -revision, rows)
            else:
                changed[id] = document(id, revision, rows)
        if lost:
            index.updated(revision, list(lost.values()))  # as when the load that made it is cancelled
        index = index.updated(revision, list(changed.values()))
        documents |= changed
        snapshots.append((index, dict(documents)))
    for snapshot, there in snapshots:
        assert found(snapshot, questions, top_k, per_document) == brute_force(there, questions, top_k, per_document)


def test_a_change_costs_what_it_changes_however_large_the_collection_is() -> None:
    vectors = np.ones((2_000, DIMENSIONS), dtype=np.float32)
    everything = [LoadedDocument(f"d{n}", 1, "", ["text"], vectors[n : n + 1]) for n in range(len(vectors))]
    index = Index().updated(1, everything)
    costs = []
    for revision in range(2, 12_000):
        change = [LoadedDocument(f"d{revision % 7}", revision, "", ["text"], vectors[:1])]
        costs.append(index.cost_of(change))
        index = index.updated(revision, change)
    assert np.median(costs) == DIMENSIONS
    assert sum(costs) < 6 * DIMENSIONS * (len(costs) + len(everything)), "copies are paid for by the changes before"
    assert len(found(index, vectors[:1], 3_000, 1)) == len(everything), "the dead are not found"
    assert index.size < 3 * len(everything), "nor kept for ever"


def test_searches_go_on_while_it_grows() -> None:
    index = Index().updated(1, [document("a", 1, [0, 1]), document("b", 1, [2])])
    before = found(index, DIRECTIONS[:1], 9, 9)
    stop, wrong = threading.Event(), list[list[Passage]]()

    def read() -> None:
        while not stop.is_set():
            if (now := found(index, DIRECTIONS[:1], 9, 9)) != before:
                wrong.append(now)

    reader = threading.Thread(target=read)
    reader.start()
    newest = index
    for revision in range(2, 800):
        newest = newest.updated(revision, [document("ab"[revision % 2], revision, [revision % 6] * 3)])
    stop.set()
    reader.join()
    assert not wrong
    assert {p.version for p in found(newest, DIRECTIONS, 9, 9)} == {798, 799}
