"""How wrong semantic hits are, as the semantic layer's judge has found: an estimate with its bound, per prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine


@dataclass(frozen=True)
class WrongHits:
    """Of a prompt's judged pairs; ``bound`` is the upper bound on the share of wrong hits that its verdict goes by."""

    prompt: str
    version: str
    state: str
    judged: int
    wrong: int
    bound: float | None

    @property
    def share(self) -> float | None:
        return self.wrong / self.judged if self.judged else None


def wrong_hits(engine: Engine, tenant: str, prompt: str, since: float) -> Sequence[WrongHits]:
    """One line a scope that was judged. Raises StorageUnavailable."""
    return ()
