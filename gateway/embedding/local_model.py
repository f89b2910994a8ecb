"""A trained model on this machine, through ``fastembed``: an extra, as it brings an ONNX runtime.

Texts are embedded one at a time. A quantised model scales its activations by all that is in a batch, so the same text
would get another vector in other company (a cosine of 0.987 to itself was seen); alone it always gets the same one.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gateway.embedding.base import Vectors, unit_rows
from gateway.errors import ProviderMalformed

_THREADS = 2
"""Texts that are embedded at once; each takes one core."""
_TEXTS_A_TURN = 8
"""A long list goes to the threads in pieces, so that a search does not wait for a whole document."""
_DIGITS = 12
_PARTS = ("*.onnx", "*.onnx_data", "tokenizer.json")


class TextModel(Protocol):
    """What is used of ``fastembed.TextEmbedding``."""

    def embed(self, documents: Sequence[str], batch_size: int = 256) -> Iterable[Any]: ...


class LocalEmbedder:
    """Some hundred short texts a second and core with a small model. Its name holds a digest of the model's files.

    ``model`` must be callable from several threads at once.
    """

    def __init__(self, model: TextModel, *, name: str) -> None:
        self._model = model
        self._name = name
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="embedding")
        self._dimensions = int(self._rows(["dimensions"]).shape[1])

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimensions(self) -> int:
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions), in threads. What is beyond the model's longest text is not read."""
        if not texts:
            return np.zeros((0, self._dimensions), dtype=np.float32)
        loop = asyncio.get_running_loop()
        rows = [
            await loop.run_in_executor(self._threads, self._rows, texts[start : start + _TEXTS_A_TURN])
            for start in range(0, len(texts), _TEXTS_A_TURN)
        ]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    async def aclose(self) -> None:
        """What is being embedded is finished; what waits is not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _rows(self, texts: Sequence[str]) -> Vectors:
        rows = np.stack([np.asarray(row) for row in self._model.embed(list(texts), batch_size=1)])
        if not np.isfinite(rows).all():
            raise ProviderMalformed(f"the local model {self._name!r} gave a vector that is not finite")
        blank = [place for place, text in enumerate(texts) if not text.strip()]
        rows[blank] = 0.0
        return unit_rows(rows)


def load_local_embedder(model: str, folder: Path | None) -> LocalEmbedder:
    """``model`` as fastembed names it; its files are read from ``folder``, or fetched once to fastembed's own place.

    Takes some tenths of a second, and a download the first time without a folder. Raises ``ValueError`` that says what
    to do when the extra, the folder or the model is missing.
    """
    try:
        from fastembed import TextEmbedding
    except ImportError as missing:
        raise ValueError(
            "PROMPTYARD_EMBEDDER=local needs fastembed, which is not installed: pip install 'promptyard[embeddings]'"
        ) from missing
    if folder is not None and not _files(folder):
        raise ValueError(
            f"PROMPTYARD_EMBEDDING_FOLDER={str(folder)!r} holds no model: it must be a folder with model.onnx, "
            "tokenizer.json, tokenizer_config.json and config.json; without it the model is downloaded"
        )
    kind = {} if folder is None else {"specific_model_path": str(folder)}
    try:
        loaded = TextEmbedding(model, threads=1, **kind)
    except Exception as trouble:  # fastembed's own errors have no common root
        raise ValueError(
            f"the local embedding model {model!r} could not be loaded ({type(trouble).__name__}: {trouble}); "
            "name one that fastembed supports in PROMPTYARD_EMBEDDING_LOCAL_MODEL, and where there is no way out to "
            "download it, put its files into a folder and name that in PROMPTYARD_EMBEDDING_FOLDER"
        ) from trouble
    where = folder if folder is not None else Path(loaded.model._model_dir)
    return LocalEmbedder(loaded, name=f"local/{model[:90]}@{digest_of(where)}")


def digest_of(folder: Path) -> str:
    """Twelve hexadecimal digits of what decides a vector: the weights and the tokenizer. int8 and fp32 differ in it."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.name}:{path.stat().st_size};".encode())
        with path.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:_DIGITS]


def _files(folder: Path) -> list[Path]:
    found = {path for part in _PARTS for path in folder.rglob(part)}
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())
