"""The questions of one part in memory, and the most similar ones to another."""

import asyncio

from msgspec import Struct

from gateway.cache.semantic.blocks import BLOCK, JOINED, Block, BuildGraph, Graph, View
from gateway.cache.semantic.items import Vector

MOST = 100_000
"""Questions of one part; beyond, the oldest block goes."""

_INLINE_CELLS = 8_000_000  # about a millisecond of multiplication; more goes to a thread
_SPARE = 8  # rows a graph may name that were taken out since


class Near(Struct, frozen=True):
    """A kept question, its cosine with the one asked, and the fingerprint of its answer; 0: not known."""

    text: str
    similarity: float
    answer: int = 0


class SimilarIndex:
    """For one event loop. Each text is in it once; ``build``, if there is one, makes graphs of full blocks."""

    def __init__(
        self,
        *,
        block: int = BLOCK,
        most: int = MOST,
        build: BuildGraph | None = None,
    ) -> None:
        self._block = block
        self._most = max(most, block)
        self._build = build
        self._blocks: list[Block] = []
        self._places: dict[str, tuple[Block, int]] = {}
        self._sealing = False
        self.dimensions = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return text in self._places

    @property
    def cells(self) -> int:
        """Numbers that are held: dimensions of all rows, those that were taken out included."""
        return self.dimensions * sum(block.count for block in self._blocks)

    def expires_at(self, text: str) -> float:
        """Unix seconds; 0 for a text that is not here."""
        place = self._places.get(text)
        return place[0].ends[place[1]] if place is not None else 0.0

    def add(self, text: str, vector: Vector, expires_at: float, answer: int = 0) -> None:
        """A text that is here already lives on until the later end. A vector of another length is passed over."""
        if (place := self._places.get(text)) is not None:
            block, row = place
            block.ends[row] = max(block.ends[row], expires_at)
            block.answers[row] = answer or block.answers[row]
            return
        if self.dimensions and len(vector) != self.dimensions:
            return
        self.dimensions = len(vector)
        if not self._blocks or self._blocks[-1].full:
            self._blocks.append(Block(self._block))
            while sum(block.room for block in self._blocks) > self._most and len(self._blocks) > 1:
                self._forget_oldest()
        block = self._blocks[-1]
        self._places[text] = block, block.add(text, vector, expires_at, answer)

    def drop(self, text: str) -> None:
        """Its answer is gone."""
        if (place := self._places.pop(text, None)) is not None:
            place[0].take_out(place[1])

    async def nearest(self, vector: Vector, count: int, now: float) -> list[Near]:
        """At most ``count``, most similar first, none past its end. Long multiplications are done in a thread."""
        views = [block.view() for block in self._blocks]
        if not views or len(vector) != self.dimensions:
            return []
        if sum(view.cells for view in views) > _INLINE_CELLS:
            found = await asyncio.to_thread(_search, views, vector, count + _SPARE)
        else:
            found = _search(views, vector, count + _SPARE)
        alive: list[Near] = []
        for score, block, row in found:
            text = block.texts[row]
            if text is None:
                continue
            if block.ends[row] <= now:
                self.drop(text)
                continue
            alive.append(Near(text, score, block.answers[row]))
            if len(alive) == count:
                break
        return alive

    async def seal(self) -> None:
        """Make graphs of the full blocks that are none yet, in a thread, one after the other."""
        if self._build is None or self._sealing:
            return
        self._sealing = True
        try:
            while (block := self._next_to_seal()) is not None:
                before = self._joinable(block)
                graph = await asyncio.to_thread(self._build, block.matrix, before.graph if before else None)
                if before is None:
                    block.seal(graph)
                elif before in self._blocks and block in self._blocks:  # nothing was forgotten as a whole meanwhile
                    self._join(before, block, graph)
        finally:
            self._sealing = False

    @property
    def sealable(self) -> bool:
        """Whether ``seal`` has something to do."""
        return self._build is not None and not self._sealing and self._next_to_seal() is not None

    def _next_to_seal(self) -> Block | None:
        return next((block for block in self._blocks if block.full and block.graph is None), None)

    def _joinable(self, block: Block) -> Block | None:
        """The sealed block right before this one, if there is room in its graph."""
        place = self._blocks.index(block)
        before = self._blocks[place - 1] if place else None
        if before is None or before.graph is None or before.count + block.count > JOINED * self._block:
            return None
        return before

    def _join(self, before: Block, block: Block, graph: Graph) -> None:
        begin = before.join(block, graph)
        for row, text in enumerate(block.texts):
            if text is not None:
                self._places[text] = before, begin + row
        self._blocks.remove(block)

    def _forget_oldest(self) -> None:
        oldest = self._blocks[0]
        for text in oldest.forget(self._block):
            self._places.pop(text, None)
        if oldest.first >= oldest.count:
            del self._blocks[0]


def _search(views: list[View], vector: Vector, count: int) -> list[tuple[float, Block, int]]:
    found: list[tuple[float, Block, int]] = []
    for view in views:
        scores, rows = view.nearest(vector, count)
        found += [(float(score), view.block, int(row)) for score, row in zip(scores, rows, strict=True)]
    found.sort(key=lambda one: -one[0])
    return found
