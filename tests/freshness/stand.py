"""What the trial runs on: a gateway of several workers, two Redis, SQL, an upstream that repeats what it is told."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.prompts.projection import write_routing
from gateway.storage.engine import writing
from tests.bench.stage import NEVER_REACHED, Stage, stage, start_upstream
from tests.freshness.trial import TENANT, Trouble, prompt
from tests.gateway_stack import put_into_production

UPSTREAM_MS = 20.0


@contextlib.contextmanager
def stand(folder: Path, *, workers: int, **changes: Any) -> Iterator[tuple[Stage, str, str]]:
    """The stage, the gateway's address and a key. ``changes`` are fields of ``Settings``."""
    with contextlib.ExitStack() as closing:
        upstream, _ = start_upstream(closing, UPSTREAM_MS)
        here = closing.enter_context(stage(folder, upstream, **changes))
        key = here.key(TENANT, NEVER_REACHED)
        with writing(here.engine) as session:
            put_into_production(session, prompt())
            write_routing(session, here.clock)
        here.start_ledger_writer()
        yield here, here.start_gateway(env={"PROMPTYARD_WORKERS": str(workers)}), key


def troubles(here: Stage) -> list[Trouble]:
    """Either Redis dies as by ``kill -9`` and comes back, twice."""

    def cache() -> None:
        here.cache_redis.kill()
        here.cache_redis.start()

    def state() -> None:
        here.state_redis.kill()
        here.state_redis.start()

    return [
        Trouble(0.2, "cache Redis killed", cache),
        Trouble(0.4, "state Redis killed", state),
        Trouble(0.6, "cache Redis killed", cache),
        Trouble(0.8, "state Redis killed", state),
    ]
