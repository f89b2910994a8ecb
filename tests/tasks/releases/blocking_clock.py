"""A program to be killed: a reconcile that stops for ever at its n-th look at the clock after the lease.

``python -m tests.tasks.releases.blocking_clock DATABASE_URL RELEASE_ID LOOKS``
"""

import signal
import sys

from gateway.clock import ManualClock

BLOCKED = "blocked"


class BlockingClock(ManualClock):
    """Says that it blocks, then waits for a signal."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.advance(200)
        self._left = looks

    def now(self) -> float:
        if self._left == 0:
            print(BLOCKED, flush=True)
            signal.pause()
        self._left -= 1
        return super().now()


def main(url: str, release_id: str, looks: str) -> None:
    from gateway.storage.engine import make_engine
    from tasks.releases.reconcile import advance

    advance(make_engine(url), BlockingClock(int(looks)), release_id, "the one that is killed")


if __name__ == "__main__":
    main(*sys.argv[1:])
