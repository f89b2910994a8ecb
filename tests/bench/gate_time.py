"""What the gate costs beside its calls: 200 items under two versions, answered and judged, logged and shown.

``python -m tests.bench gate-time [--seconds S]``. Rounds follow each other for about ``S`` seconds: the same calls
bare, by the ``openai`` SDK with 32 in flight, each answer's verdict asked as soon as the answer is there; then the
flow ``gate_prompt`` as it is run, with a Prefect server, an MLflow server and empty caches. The provider is the
simulator with 200 ms a call. Imports are left out: a small gate runs before.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from openai import AsyncOpenAI, DefaultAioHttpClient
from rich.console import Console
from rich.table import Table

from gateway.clock import SystemClock
from gateway.prompts.template import render
from gateway.settings import Settings
from gateway.storage.engine import writing
from gateway.storage.models import PromptRow
from gateway.types import Message
from tasks.evaluators.judge import judge_messages
from tasks.llm import IN_FLIGHT, client
from tasks.registration import engine_of, register
from tasks.specs.bundle import bundle
from tasks.specs.reading import SpecFile, read_spec
from tests.bench.batching import CONTENT
from tests.bench.processes import Program
from tests.databases import new_database
from tests.integration.prefect_processes import PrefectYard, prefect_yard
from tests.servers import CACHE_ROLE, STATE_ROLE, free_port, start_redis

ITEMS = 200
LATENCY_MS = 200
MOST_TIMES = 1.5
"""Of the bare calls' time, which the gate may take."""
_BEFORE = "You answer questions of customers of a maker of fridge sensors, in at most three sentences."
_NOW = _BEFORE + " Say so when you do not know."
_MODEL = "gpt-4.1-mini"
_CRITERIA = ("accuracy", "helpfulness")


@dataclass(frozen=True)
class Servers:
    """What runs outside of the gate's process; ``home`` holds ledgers and prompts."""

    home: Path
    provider: str
    cache: str
    state: str
    mlflow: str


@dataclass
class Round:
    """Seconds. ``steps`` are the gate's, by task name, as the Prefect server has them."""

    bare: float
    gate: float
    steps: dict[str, float] = field(default_factory=dict)
    verdict: str = ""
    calls: int = 0

    @property
    def times(self) -> float:
        return self.gate / self.bare


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Prints the table; the figures, and under ``violations`` a gate that takes more than 1.5 times the bare calls."""
    rounds = measure(seconds)
    console.print(table(rounds))
    times = statistics.median(one.times for one in rounds)
    violations = [f"the gate takes {times:.2f} times the bare calls"] if times > MOST_TIMES else []
    violations += [f"a gate ended {one.verdict!r}" for one in rounds if one.verdict not in ("pass", "fail")]
    return {
        "times": times,
        "bare_seconds": statistics.median(one.bare for one in rounds),
        "gate_seconds": statistics.median(one.gate for one in rounds),
        "steps": _median_steps(rounds),
        "rounds": len(rounds),
        "violations": violations,
    }


def measure(seconds: float) -> list[Round]:
    with _servers() as servers:
        gated(servers, "first", 8)
        asyncio.run(bare(servers, ITEMS))  # so that the simulator has thought about every question before it is timed
        rounds: list[Round] = []
        deadline = time.monotonic() + seconds
        while not rounds or time.monotonic() < deadline:
            begun = time.perf_counter()
            calls = asyncio.run(bare(servers, ITEMS))
            spent = time.perf_counter() - begun
            round_ = gated(servers, f"round-{len(rounds)}", ITEMS)
            round_.bare, round_.calls = spent, calls
            rounds.append(round_)
        return rounds


async def bare(servers: Servers, count: int) -> int:
    """How many calls were made: an answer and its verdict for each item under each version, 32 in flight."""
    places, calls = asyncio.Semaphore(IN_FLIGHT), 0
    async with AsyncOpenAI(
        base_url=f"{servers.provider}/v1", api_key="bench", max_retries=0, http_client=DefaultAioHttpClient()
    ) as vendor:

        async def ask(model: str, messages: Sequence[Message]) -> str:
            nonlocal calls
            async with places:
                answer = await vendor.chat.completions.create(
                    model=model,
                    messages=[dict(one) for one in messages],  # type: ignore[misc]
                    temperature=0,
                )
            calls += 1
            return answer.choices[0].message.content or ""

        async def one(system: str, item: dict[str, Any]) -> None:
            question = item["variables"]["question"]
            answer = await ask(_MODEL, render(_template(system), {"question": question}))
            shown = judge_messages(question=question, answer=answer, reference=item["reference"], criteria=_CRITERIA)
            await ask("gpt-4.1", shown)

        await asyncio.gather(*(one(system, item) for system in (_BEFORE, _NOW) for item in golden(count)))
    return calls


def gated(servers: Servers, tenant: str, count: int) -> Round:
    """One run of the flow for a tenant of its own, whose cache is empty."""
    from blocks.workspace import load_workspace, save_workspace
    from flows.gate_prompt import GateRequest, gate_prompt

    settings = _settings(servers, tenant)
    save_workspace(settings)
    load_workspace.cache_clear()
    before, now = (_file(servers.home / tenant, *one, count) for one in (("1.0.0", _BEFORE), ("1.1.0", _NOW)))
    _put_into_production(settings, before)
    register.fn(settings, SystemClock(), now, tenant, "bench")
    online = client(settings)
    try:
        begun = time.perf_counter()
        state = gate_prompt(GateRequest(path=now.path), return_state=True)
        spent = time.perf_counter() - begun
        found = state.result()
        assert found.run_id, "nothing was logged to MLflow"
        assert len(found.rows) == count, f"{len(found.rows)} rows of {count} items"
        run_id = state.state_details.flow_run_id
        assert run_id is not None
        return Round(0.0, spent, _steps(run_id), found.verdict.outcome.value)
    finally:
        online.close()
        engine_of(settings).dispose()


def golden(count: int) -> list[dict[str, Any]]:
    """The sample prompt's golden questions, asked by as many customers as it takes."""
    lines = (CONTENT / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    known = [json.loads(line) for line in lines]
    found = []
    for place in range(count):
        one = known[place % len(known)]
        question = f"{one['variables']['question']} (customer {place})"
        found.append({"id": f"i-{place}", "variables": {"question": question}, "reference": one["reference"]})
    return found


def table(rounds: Sequence[Round]) -> Table:
    shown = Table(title=f"{ITEMS} items under two versions, {rounds[0].calls} calls of {LATENCY_MS} ms, 32 in flight")
    for column in ("", "seconds", "of the bare calls"):
        shown.add_column(column, justify="left" if not column else "right")
    bare_seconds = statistics.median(one.bare for one in rounds)
    total = statistics.median(one.gate for one in rounds)
    shown.add_row("the calls, bare", f"{bare_seconds:.2f}", "1.00")
    shown.add_row(
        f"the gate (median of {len(rounds)})", f"{total:.2f}", f"{total / bare_seconds:.2f}", end_section=True
    )
    steps = _median_steps(rounds)
    for name, spent in [*steps.items(), ("between the tasks", total - sum(steps.values()))]:
        shown.add_row(f"  {name}", f"{spent:.2f}", f"{spent / bare_seconds:.2f}")
    return shown


def _median_steps(rounds: Sequence[Round]) -> dict[str, float]:
    names = dict.fromkeys(name for one in rounds for name in one.steps)
    return {name: statistics.median(one.steps.get(name, 0.0) for one in rounds) for name in names}


def _steps(run_id: UUID) -> dict[str, float]:
    """Seconds from the first start to the last end of a name's tasks; waits until the server knows that all ended."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    deadline = time.monotonic() + 30
    with get_client(sync_client=True) as api:
        while True:
            only = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
            tasks = api.read_task_runs(flow_run_filter=only)
            if tasks and all(one.end_time for one in tasks):
                break
            assert time.monotonic() < deadline, "the Prefect server does not know of the tasks"
            time.sleep(0.2)
    spans: dict[str, list[datetime]] = {}
    for one in sorted(tasks, key=lambda one: one.start_time):
        begun, ended = spans.setdefault(one.name.rsplit("-", 1)[0], [one.start_time, one.end_time])
        spans[one.name.rsplit("-", 1)[0]] = [begun, max(ended, one.end_time)]
    return {name: (ended - begun).total_seconds() for name, (begun, ended) in spans.items()}


def _file(folder: Path, version: str, system: str, count: int) -> SpecFile:
    """A prompt.yaml of this version with its golden set."""
    home = folder / version
    home.mkdir(parents=True)
    content = {
        "name": "bench",
        "version": version,
        "changelog": "says when it does not know",
        "template": list(_template(system)),
        "variables": {"question": {}},
        "model": {"chain": [f"openai/{_MODEL}"]},
        "gate": {"judge": {"model": "openai/gpt-4.1", "criteria": list(_CRITERIA)}, "floor": 0.0},
    }
    (home / "prompt.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (home / "golden.jsonl").write_text("".join(json.dumps(one) + "\n" for one in golden(count)), encoding="utf-8")
    return read_spec(home / "prompt.yaml", {})


def _template(system: str) -> tuple[dict[str, str], ...]:
    return ({"role": "system", "content": system}, {"role": "user", "content": "{{question}}"})


def _put_into_production(settings: Settings, file: SpecFile) -> None:
    register.fn(settings, SystemClock(), file, settings.tenant, "bench")
    version = bundle(file.spec, settings.tenant)
    with writing(engine_of(settings)) as session:
        session.merge(
            PromptRow(tenant=version.tenant, name=version.name, production=version.version, updated_at=time.time())
        )


def _settings(servers: Servers, tenant: str) -> Settings:
    home = servers.home / tenant
    return Settings.model_validate(
        {
            "home": home,
            "database_url": new_database(home),
            "cache_redis_url": servers.cache,
            "state_redis_url": servers.state,
            "openai_base_url": f"{servers.provider}/v1",
            "OPENAI_API_KEY": "bench",
            "anthropic_base_url": servers.provider,
            "ANTHROPIC_API_KEY": "bench",
            "mlflow_tracking_uri": servers.mlflow,
            "tenant": tenant,
        }
    )


@contextmanager
def _servers() -> Iterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, ExitStack() as closing:
        home = Path(folder)
        for name in ("prefect", "mlflow"):
            (home / name).mkdir()
        yard = closing.enter_context(prefect_yard(home / "prefect"))
        closing.enter_context(_prefect_settings(yard))
        cache, state = start_redis(home / "cache", *CACHE_ROLE), start_redis(home / "state", *STATE_ROLE)
        closing.callback(cache.stop)
        closing.callback(state.stop)
        latency = ("--latency-p50", str(LATENCY_MS), "--latency-p95", str(LATENCY_MS))
        provider = _start(closing, "infra.simulator", "/admin/stats", "--port", "{port}", *latency)
        mlflow = _start(
            closing, "deployments.stack.mlflow_server", "/health", str(home / "mlflow"), "127.0.0.1", "{port}"
        )
        yield Servers(home, provider, cache.url, state.url, mlflow)


def _start(closing: ExitStack, module: str, health: str, *arguments: str) -> str:
    """The address of a program that takes its port as an argument, once it answers."""
    port = free_port()
    program = Program(module, *(one.replace("{port}", str(port)) for one in arguments))
    closing.callback(program.terminate)
    program.wait_until_it_answers(f"http://127.0.0.1:{port}{health}")
    return f"http://127.0.0.1:{port}"


@contextmanager
def _prefect_settings(yard: PrefectYard) -> Iterator[None]:
    """This process runs its flows against that server."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_LEVEL, temporary_settings

    changed = {PREFECT_API_URL: yard.api, PREFECT_HOME: yard.home, PREFECT_LOGGING_LEVEL: "WARNING"}
    with temporary_settings(changed):
        yield
