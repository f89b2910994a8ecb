"""What every measurement stands on: two Redis, a migrated database, keys, an upstream, and gateways as processes."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine

from gateway.auth.keys import SCOPES, create_key
from gateway.clock import SystemClock
from gateway.ledger.segments import undelivered_bytes
from gateway.settings import ChainSettings, Settings
from gateway.storage.engine import make_engine
from gateway.types import NO_LIMITS, KeyLimits
from tests.bench.processes import Program
from tests.gateway_process import environment
from tests.gateway_stack import settings_for
from tests.servers import CACHE_ROLE, STATE_ROLE, RedisServer, free_port, start_redis

NEVER_REACHED = KeyLimits(requests_per_minute=10_000_000, tokens_per_minute=1_000_000_000)
"""Limits that cost what limits cost, and refuse nothing."""


@dataclass
class Stage:
    """``programs`` by what they are called in reports. Everything is ended with the stage."""

    settings: Settings
    engine: Engine
    cache_redis: RedisServer
    state_redis: RedisServer
    closing: contextlib.ExitStack
    clock: SystemClock = field(default_factory=SystemClock)
    programs: dict[str, Program] = field(default_factory=dict)
    _trace_sink: str = ""

    def pids(self) -> dict[str, int]:
        servers = {"cache Redis": self.cache_redis.pid, "state Redis": self.state_redis.pid}
        return {name: program.pid for name, program in self.programs.items()} | servers

    def key(self, tenant: str, limits: KeyLimits = NO_LIMITS) -> str:
        return create_key(self.engine, self.clock, tenant, "bench", sorted(SCOPES - {"admin"}), limits=limits)[0]

    def start(
        self, name: str, module: str, *arguments: str, env: Mapping[str, str] | None = None, health: str = ""
    ) -> Program:
        program = self.programs[name] = Program(module, *arguments, env=env)
        self.closing.callback(program.terminate)
        if health:
            program.wait_until_it_answers(health)
        return program

    def start_gateway(
        self, name: str = "gateway", *, module: str = "gateway.app", env: Mapping[str, str] | None = None
    ) -> str:
        """Its address, once it answers."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self.start(name, module, env=self.environment(port) | dict(env or {}), health=f"{url}/healthz")
        return url

    def start_ledger_writer(self) -> Program:
        return self.start("ledger-writer", "gateway.ledger.writer", env=self.environment(0))

    def start_trace_sink(self) -> dict[str, str]:
        """The variables that send the spans of 1 % of the calls there."""
        port = free_port()
        self._trace_sink = f"http://127.0.0.1:{port}"
        self.start("trace sink", "tests.bench.trace_sink", str(port), health=f"{self._trace_sink}/taken")
        return {"PROMPTYARD_OTLP_ENDPOINT": f"{self._trace_sink}/v1/traces", "PROMPTYARD_TRACE_RATIO": "0.01"}

    def traced_bytes(self) -> int:
        """What the trace sink was sent. A measurement with traces on that sent none is none."""
        taken = int(httpx.get(f"{self._trace_sink}/taken", timeout=10).text)
        assert taken, "no span arrived"
        return taken

    def environment(self, port: int) -> dict[str, str]:
        """The variables that make these settings in another process."""
        return environment(self.settings, port) | {
            "PROMPTYARD_CHAIN": json.dumps(self.settings.chain.model_dump()),
            "PROMPTYARD_SQL_TIMEOUT": str(self.settings.sql_timeout),
        }

    def undelivered(self) -> int:
        """Bytes of the ledger that are not in SQL yet."""
        total = 0
        for folder in self.settings.spool_directory.glob("*/"):
            with contextlib.suppress(OSError):  # the writer removes what it has finished
                total += undelivered_bytes(folder)
        return total


def start_upstream(closing: contextlib.ExitStack, latency_ms: float) -> tuple[str, Program]:
    """A lean OpenAI-compatible server: its address, without ``/v1``."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = Program("tests.bench.upstream", str(port), str(latency_ms))
    closing.callback(program.terminate)
    program.wait_until_it_answers(f"{url}/healthz")
    return url, program


@contextlib.contextmanager
def stage(
    directory: Path, providers: str, *, cache_role: Sequence[str] = CACHE_ROLE, **changes: Any
) -> Iterator[Stage]:
    """Everything but the gateways. ``providers`` is the upstream's address; ``changes`` are fields of ``Settings``.

    What bounds calls is as users have it, unless it is changed.
    """
    changes = {"chain": ChainSettings.model_validate({}), "redis_timeout": 0.25, "sql_timeout": 5.0} | changes
    with contextlib.ExitStack() as closing:
        cache = start_redis(directory / "cache", *cache_role)
        closing.callback(cache.stop)
        state = start_redis(directory / "state", *STATE_ROLE)
        closing.callback(state.stop)
        settings = settings_for(directory / "home", cache.url, state.url, providers, **changes)
        engine = make_engine(settings.sql_url, settings.sql)
        closing.callback(engine.dispose)
        yield Stage(settings, engine, cache, state, closing)
