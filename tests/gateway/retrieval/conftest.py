from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.retrieval.documents import Documents
from gateway.retrieval.search import Retriever
from gateway.storage.engine import make_engine
from gateway.storage.models import Base
from tests.gateway.retrieval.fakes import BrokenEmbedder, FakeEpochs


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    """A SQLite file with the tables of the models."""
    path = tmp_path / "retrieval.db"
    engine = make_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def epochs() -> FakeEpochs:
    return FakeEpochs()


@pytest.fixture
def embedder() -> BrokenEmbedder:
    return BrokenEmbedder()


@pytest.fixture
def documents(engine: Engine, epochs: FakeEpochs, embedder: BrokenEmbedder, clock: ManualClock) -> Documents:
    return Documents(engine, epochs, embedder, clock)


@pytest.fixture
def retriever(engine: Engine, embedder: BrokenEmbedder, clock: ManualClock) -> Retriever:
    return Retriever(engine, embedder, clock=clock)
