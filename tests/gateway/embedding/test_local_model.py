"""The local model: its threads, its name, and what it says when something is missing."""

import asyncio
import importlib.util
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gateway.embedding.build import build_embedder
from gateway.embedding.local_model import LocalEmbedder, digest_of, load_local_embedder
from gateway.errors import ProviderMalformed
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("PROMPTYARD_EMBEDDING_FOLDER") or ROOT.parent / "shared/models/all-MiniLM-L6-v2-int8")
INSTALLED = importlib.util.find_spec("fastembed") is not None


class FakeTextModel:
    """A text's row depends on its company, as with a quantised model; remembers batches and threads."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def embed(self, documents: Sequence[str], batch_size: int = 256) -> Iterable[np.ndarray]:
        self.batches.append(len(documents))
        self.threads.add(threading.current_thread().name)
        for document in documents:
            company = min(batch_size, len(documents))
            yield np.array([len(document), company, np.nan if document == "broken" else 0.0], dtype=np.float32)


@pytest.fixture
def model() -> FakeTextModel:
    return FakeTextModel()


async def test_rows_are_of_unit_length_in_order_and_independent_of_their_company(model: FakeTextModel) -> None:
    embedder = LocalEmbedder(model, name="local/fake")
    alone = [(await embedder.embed([text]))[0] for text in ("a", "bb", "ccc")]
    together = await embedder.embed(["a", "bb", "ccc"])
    assert together.shape == (3, embedder.dimensions)
    assert np.array_equal(together, np.stack(alone))
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(3))
    await embedder.aclose()


async def test_it_works_in_threads_and_in_short_turns(model: FakeTextModel) -> None:
    embedder = LocalEmbedder(model, name="local/fake")
    model.batches.clear()
    model.threads.clear()
    rows = await embedder.embed([f"text {number}" for number in range(20)])
    assert rows.shape == (20, 3)
    assert sum(model.batches) == 20
    assert max(model.batches) <= 8
    assert all(name.startswith("embedding") for name in model.threads)
    await embedder.aclose()


async def test_the_loop_goes_on_meanwhile() -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(FakeTextModel):
        def embed(self, documents: Sequence[str], batch_size: int = 256) -> Iterable[np.ndarray]:
            if documents[0] == "slow":
                entered.set()
                release.wait(10)
            return super().embed(documents, batch_size)

    embedder = LocalEmbedder(Slow(), name="local/fake")
    slow = asyncio.create_task(embedder.embed(["slow"]))
    await asyncio.to_thread(entered.wait, 10)
    assert (await embedder.embed(["quick"])).shape == (1, 3)
    assert not slow.done()
    release.set()
    assert (await slow).shape == (1, 3)
    await embedder.aclose()


async def test_nothing_and_blank_texts(model: FakeTextModel) -> None:
    embedder = LocalEmbedder(model, name="local/fake")
    assert (await embedder.embed([])).shape == (0, 3)
    rows = await embedder.embed(["", "word", "  "])
    assert [bool(row.any()) for row in rows] == [False, True, False]
    await embedder.aclose()


async def test_a_vector_that_is_not_finite_is_an_error(model: FakeTextModel) -> None:
    embedder = LocalEmbedder(model, name="local/fake")
    with pytest.raises(ProviderMalformed, match="finite"):
        await embedder.embed(["fine", "broken"])
    await embedder.aclose()


def test_the_digest_tells_variants_apart(tmp_path: Path) -> None:
    for variant, weights in (("int8", b"small"), ("fp32", b"large"), ("copy", b"small")):
        (tmp_path / variant).mkdir()
        (tmp_path / variant / "model.onnx").write_bytes(weights)
        (tmp_path / variant / "tokenizer.json").write_bytes(b"{}")
    digests = {variant: digest_of(tmp_path / variant) for variant in ("int8", "fp32", "copy")}
    assert digests["int8"] == digests["copy"] != digests["fp32"]
    (tmp_path / "copy" / "tokenizer.json").write_bytes(b"{1}")
    assert digest_of(tmp_path / "copy") != digests["int8"]


@pytest.mark.skipif(INSTALLED, reason="fastembed is installed")
def test_without_the_extra_the_error_names_it() -> None:
    with pytest.raises(ValueError, match=r"pip install 'promptyard\[local\]'"):
        build_embedder(Settings(embedder="local"))


@pytest.mark.skipif(not INSTALLED, reason="needs fastembed: pip install 'promptyard[embeddings]'")
@pytest.mark.parametrize("content", [None, "empty", "broken"])
def test_a_folder_without_a_model_is_refused_with_what_to_do(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
    if content == "broken":
        (folder / "model.onnx").write_bytes(b"none")
    with pytest.raises(ValueError, match="PROMPTYARD_EMBEDDING_FOLDER"):
        build_embedder(Settings(embedder="local", embedding_folder=str(folder)))


@pytest.mark.skipif(not INSTALLED, reason="needs fastembed: pip install 'promptyard[embeddings]'")
@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no model there: set PROMPTYARD_EMBEDDING_FOLDER ({FOLDER})")
async def test_the_real_model() -> None:
    embedder = load_local_embedder("sentence-transformers/all-MiniLM-L6-v2", FOLDER)
    assert embedder.name == f"local/sentence-transformers/all-MiniLM-L6-v2@{digest_of(FOLDER)}"
    assert len(embedder.name) <= 120
    texts = ["How do I reset my PIN?", "How can I reset my PIN?", "Where is the nearest cash machine?"]
    rows = await embedder.embed(texts)
    assert rows.shape == (3, embedder.dimensions) == (3, 384)
    assert rows[0] @ rows[1] > 0.9 > rows[0] @ rows[2]
    assert np.array_equal((await embedder.embed(texts[2:]))[0], rows[2])
    await embedder.aclose()
