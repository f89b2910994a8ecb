"""Which drills there are, and how one is run."""

import dataclasses
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployments.drills import collision, memory, pool, stale, stampede
from deployments.drills.outcome import Outcome


@dataclass(frozen=True)
class Drill:
    """``full`` and ``small`` are what ``run`` takes: so many calls, rounds, entries or questions."""

    run: Callable[[int], Awaitable[Outcome]]
    full: int
    small: int


DRILLS = {
    "stampede": Drill(stampede.run, full=400, small=40),
    "stale": Drill(stale.run, full=10, small=2),
    "memory": Drill(memory.run, full=20_000, small=8_000),
    "collision": Drill(collision.run, full=25, small=3),
    "pool": Drill(pool.run, full=150, small=50),
}


async def run_drill(name: str, *, small: bool = False) -> Outcome:
    """Raises ``KeyError`` for a drill that does not exist and StackError when its servers do not start."""
    drill = DRILLS[name]
    begun = time.monotonic()
    outcome = await drill.run(drill.small if small else drill.full)
    return dataclasses.replace(outcome, seconds=time.monotonic() - begun)
