"""``python -m tests.bench.release_kills_worker AHEAD``: what ``advance_canaries`` does, again and again, until killed.

Each pass is a flow run of its own, as a worker's would be; a pass that fails is said and the next one follows. The
clock is ``AHEAD`` seconds ahead.
"""

import sys
import time
import traceback

from prefect import flow

from blocks.workspace import load_workspace
from flows.advance_canaries import advance_all
from tests.bench.release_stand import AheadClock

PASSED = "a pass ended"
PAUSE = 0.5


@flow(name="advance_canaries_ahead", persist_result=False)
def advance_ahead(seconds: float) -> int:
    """How many releases were looked at."""
    load_workspace.cache_clear()  # a worker's run is a process of its own, which has cached nothing
    return len(advance_all(load_workspace().settings, AheadClock(seconds)))


def main(seconds: float) -> None:
    while True:
        try:
            print(PASSED, advance_ahead(seconds), flush=True)
        except Exception:  # the Prefect server may be dead at this moment: whoever watches a worker starts the next run
            traceback.print_exc()
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(float(sys.argv[1]))
