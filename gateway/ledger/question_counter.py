"""Between the ledger-writer's shipping and the counts in Redis: which questions count, gathered until they are sent."""

import logging
from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.errors import StorageUnavailable
from gateway.ledger.frequencies import Asked, Frequencies, asked_in, tally
from gateway.storage.engine import reading
from gateway.storage.models import PromptVersionRow

MOST_WAITING = 50_000
"""Questions that wait for Redis; of more, the later ones are not counted: the ledger has them."""
_MOST_KNOWN = 5_000

_log = logging.getLogger(__name__)


class QuestionCounter:
    """``note`` what was shipped from any thread, one at a time; ``send`` it from the event loop."""

    def __init__(self, engine: Engine, frequencies: Frequencies, clock: Clock) -> None:
        self._engine = engine
        self._frequencies = frequencies
        self._clock = clock
        self._waiting: list[Asked] = []
        self._open: dict[tuple[str, str, str], bool] = {}
        self._silent = False

    def note(self, lines: Sequence[bytes]) -> None:
        """Take the questions of these lines that may be counted. Never raises."""
        asked = asked_in(lines)
        room = MOST_WAITING - len(self._waiting)
        self._waiting.extend([one for one in asked if self._may_count(one)][:room])

    async def send(self) -> int:
        """How many were counted. Never raises: what Redis does not take now is let go."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return 0
        try:
            await self._frequencies.add(tally(waiting, self._clock.now()))
        except StorageUnavailable as error:
            if not self._silent:
                _log.warning("questions are not counted for now: %s", error.message)
            self._silent = True
            return 0
        self._silent = False
        return len(waiting)

    def _may_count(self, one: Asked) -> bool:
        """Not where the version is personal, or nobody can tell. Versions never change: one look is enough."""
        name = one.tenant, one.prompt, one.version
        known = self._open.get(name)
        if known is None:
            try:
                known = self._look_up(name)
            except StorageUnavailable:
                return False
            if len(self._open) >= _MOST_KNOWN:
                self._open.clear()
            self._open[name] = known
        return known

    def _look_up(self, name: tuple[str, str, str]) -> bool:
        with reading(self._engine) as session:
            row = session.get(PromptVersionRow, name)
        return row is not None and not msgspec.convert(row.bundle, _Personal).personal


class _Personal(msgspec.Struct):
    """What of a version's bundle decides."""

    personal: bool = False
