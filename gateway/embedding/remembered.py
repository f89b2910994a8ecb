"""The vectors of the last few texts: one question is embedded once, whoever needs its vector while it is answered."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.embedding.base import Embedder, Vectors

MOST = 256
A_FEW = 4
"""More texts at once are documents: they would only push the questions out."""
_LONGEST = 4_000


class Remembering:
    """An Embedder in front of another one; for one event loop."""

    def __init__(self, embedder: Embedder, most: int = MOST) -> None:
        self._embedder = embedder
        self._most = most
        self._rows: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def dimensions(self) -> int:
        return self._embedder.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """As the embedder behind it. The rows are the caller's to change."""
        if not 0 < len(texts) <= A_FEW:
            return await self._embedder.embed(texts)
        known = [self._rows.get(text) for text in texts]
        missing = [text for text, row in zip(texts, known, strict=True) if row is None]
        fresh = iter(await self._embedder.embed(missing)) if missing else iter(())
        rows = [next(fresh) if row is None else row for row in known]
        for text, row in zip(texts, rows, strict=True):
            if len(text) <= _LONGEST:
                self._rows[text] = row
                self._rows.move_to_end(text)
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        return np.stack(rows)

    async def aclose(self) -> None:
        await self._embedder.aclose()
