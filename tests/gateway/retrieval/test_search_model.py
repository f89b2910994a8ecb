"""Puts, deletes and searches in any order, one after another and at once, against a model that has no index."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import func, select

from gateway.clock import ManualClock
from gateway.embedding.lexical import LexicalEmbedder
from gateway.errors import UnknownDocument
from gateway.retrieval.chunking import chunk
from gateway.retrieval.documents import Documents
from gateway.retrieval.search import Retriever
from gateway.storage.engine import make_engine, reading
from gateway.storage.models import Base, OutboxRow
from gateway.types import Passage
from tests.gateway.retrieval.fakes import C, FakeEpochs

tenants = st.sampled_from(["acme", "rival"])
ids = st.sampled_from(["a", "b", "c"])
subjects = st.lists(st.sampled_from(["parcels", "shoes", "refunds", "winter", "batteries"]), min_size=1, max_size=3)
lengths = st.sampled_from([1, 1, 90, 250])  # in words: one chunk or several
questions = st.sampled_from(["parcels", "shoes refunds", "winter batteries", "unrelated"])
EVERYTHING = 50  # top_k beyond all chunks of a collection, and of each document


class SearchMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.engine = make_engine(f"sqlite:///{Path(self.directory.name) / 'model.db'}")
        Base.metadata.create_all(self.engine)
        self.epochs = FakeEpochs()
        self.embedder = LexicalEmbedder(64)
        self.documents = Documents(self.engine, self.epochs, self.embedder, ManualClock())
        self.retriever = Retriever(self.engine, self.embedder, clock=ManualClock())
        self.runner = asyncio.Runner()
        self.written = 0
        self.events = 0
        self.live: dict[tuple[str, str], tuple[int, str]] = {}
        self.last: dict[tuple[str, str], int] = {}
        self.history: dict[tuple[str, str, int], tuple[str, ...]] = {}

    def teardown(self) -> None:
        self.runner.close()
        self.engine.dispose()
        self.directory.cleanup()

    @rule(tenant=tenants, id=ids, about=subjects, length=lengths)
    def put(self, tenant: str, id: str, about: list[str], length: int) -> None:
        text = self._text(about, length)
        state = self.runner.run(self._put(tenant, id, text))
        assert state.version == self.last.get((tenant, id), 0) + 1
        self._wrote(tenant, id, state.version, text)

    @rule(tenant=tenants, id=ids)
    def put_the_same_again(self, tenant: str, id: str) -> None:
        if (tenant, id) in self.live:
            version, text = self.live[tenant, id]
            state = self.runner.run(self._put(tenant, id, text))
            assert (state.version, state.changed) == (version, False)

    @rule(tenant=tenants, id=ids)
    def delete(self, tenant: str, id: str) -> None:
        there = (tenant, id) in self.live
        try:
            state = self.runner.run(self.documents.delete(tenant, C, id))
        except UnknownDocument:
            assert not there
            return
        assert there
        assert state.version == self.last[tenant, id] + 1
        self._buried(tenant, id, state.version)

    @rule(tenant=tenants, question=questions, known=st.booleans())
    def search(self, tenant: str, question: str, known: bool) -> None:
        epoch = self.epochs.current(tenant, C) if known else ""
        found = self.runner.run(self.retriever.search(tenant, C, epoch, question, EVERYTHING))
        told = [(p.document, p.version, p.title, p.text, p.score) for p in found]
        expected = self._brute_force(tenant, question)
        # The seventh digit may order what six call equal, and a product of one row may differ in it from one of many.
        assert [row[-1] for row in told] == pytest.approx([row[-1] for row in expected], abs=2e-6)
        assert sorted(row[:-1] for row in told) == sorted(row[:-1] for row in expected)

    @rule(
        tenant=tenants,
        changes=st.lists(
            st.tuples(ids, subjects, lengths, st.booleans()), min_size=1, max_size=3, unique_by=lambda c: c[0]
        ),
        question=questions,
    )
    def everything_at_once(self, tenant: str, changes: list[tuple[str, list[str], int, bool]], question: str) -> None:
        """Searches while documents change: each passage is of one version, none older than what was acknowledged."""
        acknowledged = dict(self.live)
        gone = {id for id in "abc" if (tenant, id) not in acknowledged}
        deleting = {id for id, _, _, delete in changes if delete and id not in gone}
        texts = {id: self._text(about, length) for id, about, length, _ in changes}

        async def search() -> tuple[Passage, ...]:
            return await self.retriever.search(tenant, C, self.epochs.current(tenant, C), question, EVERYTHING)

        async def all_at_once() -> list[Any]:
            writes = [
                self.documents.delete(tenant, C, id) if id in deleting else self._put(tenant, id, text)
                for id, text in texts.items()
            ]
            return await asyncio.gather(*writes, *(search() for _ in range(4)))

        results = self.runner.run(all_at_once())
        for (id, text), state in zip(texts.items(), results, strict=False):
            assert state.version == self.last.get((tenant, id), 0) + 1
            if id in deleting:
                self._buried(tenant, id, state.version)
            else:
                self._wrote(tenant, id, state.version, text)
        for passages in results[len(texts) :]:
            versions: dict[str, int] = {}
            for passage in passages:
                id = passage.document
                assert versions.setdefault(id, passage.version) == passage.version
                assert passage.text in self.history[tenant, id, passage.version]
                assert passage.version >= acknowledged.get((tenant, id), (0, ""))[0]
                assert id in texts or id not in gone
        self.search(tenant, question, True)

    @invariant()
    def every_change_has_its_event(self) -> None:
        with reading(self.engine) as session:
            assert session.scalar(select(func.count()).select_from(OutboxRow)) == self.events

    def _put(self, tenant: str, id: str, text: str) -> Any:
        return self.documents.put(tenant, C, id, title=f"{tenant} {id}", text=text)

    def _text(self, about: list[str], length: int) -> str:
        self.written += 1
        return f"number {self.written} " + " ".join((about * length)[:length])

    def _wrote(self, tenant: str, id: str, version: int, text: str) -> None:
        self.live[tenant, id] = (version, text)
        self.last[tenant, id] = version
        self.history[tenant, id, version] = chunk(text)
        self.events += 1

    def _buried(self, tenant: str, id: str, version: int) -> None:
        del self.live[tenant, id]
        self.last[tenant, id] = version
        self.events += 1

    def _brute_force(self, tenant: str, question: str) -> list[tuple[str, int, str, str, float]]:
        """Every chunk of every live document, embedded anew, by falling score, then id, then place in the text."""
        rows = [
            (id, version, f"{tenant} {id}", piece)
            for (owner, id), (version, text) in sorted(self.live.items())
            if owner == tenant
            for piece in chunk(text)
        ]
        asked = self.runner.run(self.embedder.embed([question]))[0]
        vectors = self.runner.run(self.embedder.embed([f"{title}\n{piece}" for _, _, title, piece in rows]))
        scored = [(*row, round(float(np.float32(score)), 6)) for row, score in zip(rows, vectors @ asked, strict=True)]
        return sorted((s for s in scored if s[-1] > 0), key=lambda s: -s[-1])


TestSearchModel = SearchMachine.TestCase
TestSearchModel.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
