"""What a trial runs on: two workers of a gateway, a ledger-writer, both providers, three tenants who ask the same."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.prompts.projection import write_routing
from gateway.settings import ChainSettings
from gateway.storage.engine import writing
from tests.bench.processes import Program
from tests.bench.stage import Stage, stage
from tests.chaos.faults import Fault, all_faults
from tests.chaos.questions import Tenant, prompts
from tests.gateway_stack import put_into_production
from tests.servers import free_port

TENANTS = ("acme", "globex", "initech")
WORKERS = 2


@dataclass(frozen=True)
class Stand:
    """``gateway`` is an address."""

    here: Stage
    gateway: str
    tenants: list[Tenant]
    faults: list[Fault]


@contextlib.contextmanager
def stand(folder: Path, *, seed: int = 0, **changes: Any) -> Iterator[Stand]:
    """``changes`` are fields of ``Settings``."""
    port = free_port()
    simulator = f"http://127.0.0.1:{port}"
    program = Program("infra.simulator", "--port", str(port), "--latency-p50", "15", "--latency-p95", "40")
    with contextlib.ExitStack() as closing:
        closing.callback(program.terminate)
        here = closing.enter_context(stage(folder, simulator, **changes))
        tenants = [Tenant(name, here.key(name), random.Random(seed + n)) for n, name in enumerate(TENANTS)]
        with writing(here.engine) as session:
            for tenant in TENANTS:
                for version in prompts(tenant):
                    put_into_production(session, version)
            write_routing(session, here.clock)
        here.start_ledger_writer()
        gateway = here.start_gateway(env={"PROMPTYARD_WORKERS": str(WORKERS)})
        program.wait_until_it_answers(f"{simulator}/healthz")
        yield Stand(here, gateway, tenants, all_faults(here, simulator, gateway))


def brisk() -> ChainSettings:
    """Bounds of calls for a trial of seconds: half-open soon, and a hanging provider given up on soon."""
    return ChainSettings.model_validate({"first_token_timeout": 2.5, "breaker_cooldown": 1, "breaker_failures": 3})
