"""Releases while everything around them is killed: gateways, the run that advances them, Prefect's server, MLflow's.

``python -m tests.bench release-kills [--seconds S]``, or ``python -m tests.bench.release_kills RELEASES [SECONDS]``. A
third of the releases each is harmful, good, or the same prompt again. Every few seconds one process, drawn at random,
gets a SIGKILL, and starts again a moment later. Each release must end in a single verdict, the right one where there is
one, and at the end ledger, routing table, gateways and MLflow's aliases agree. Users come for ``S`` seconds at most.
"""

import asyncio
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.prompts.routing_store import RoutingStore
from gateway.storage.redis_store import connect
from gateway.types import RoutingTable
from tasks import registry
from tasks.registration import engine_of
from tasks.releases import store
from tasks.releases.replay import replay
from tasks.releases.sealing import PATIENCE, seal_closed
from tasks.releases.stages import Stage
from tests.bench.processes import Program, get
from tests.bench.release_kills_worker import PASSED
from tests.bench.release_stand import TENANT, WINDOW, AheadClock, ReleaseStand, release_stand
from tests.bench.release_trials import (
    BASELINE,
    CANDIDATE,
    FAILS,
    VARIES,
    Kind,
    Result,
    Run,
    Trial,
    Trials,
    good,
    harmful,
    same,
)
from tests.servers import free_port

RELEASES = 30
AHEAD = WINDOW + 1
EVERY = (0.5, 8.0)
"""Seconds until the next kill, once all works again; drawn at random."""
DOWN = (0.0, 3.0)
"""Seconds until what was killed is started again."""
_BACK_WITHIN = 90.0
_SETTLED_WITHIN = 300.0
_VERDICTS = frozenset({"promoted", "rolled_back", "closed"})


@dataclass(frozen=True)
class Victim:
    """``back``: whether it works again, asked after it was started anew."""

    program: Program
    back: Callable[[], bool]


class Killer:
    """Kills one at a time, from a thread of its own; the next when that one works again. ``tally`` counts by name."""

    def __init__(self, victims: Mapping[str, Victim], seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self._victims = victims
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when everything is started again."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._dice.uniform(*EVERY)):
            name = self._dice.choice(sorted(self._victims))
            victim = self._victims[name]
            victim.program.kill()
            self.tally[name] += 1
            self._over.wait(self._dice.uniform(*DOWN))
            victim.program.start_again()
            ends = time.monotonic() + _BACK_WITHIN
            while not victim.back() and time.monotonic() < ends and not self._over.is_set():
                self._over.wait(0.5)


def _answers(url: str) -> Callable[[], bool]:
    return lambda: (answer := get(url)) is not None and answer[0] == 200


class _Looks:
    """Whether a run has begun to look at releases since it was last asked about and said yes."""

    def __init__(self, worker: Program) -> None:
        self._worker = worker
        self._before = 0

    def __call__(self) -> bool:
        count = self._worker.log().count("Task run 'open releases")
        grown, self._before = count > self._before, count
        return grown


class WatchedTrials(Trials):
    """Trials that somebody else advances."""

    def _look(self, run: Run, *, later: float = 0.0) -> None:
        run.release = self._stand.find(run.release.id)
        if not run.open:
            run.seconds = time.monotonic() - run.begun


def run(seconds: float, console: Console, releases: int = RELEASES) -> dict[str, Any]:
    """``seconds``: how long users come at most."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from blocks.workspace import save_workspace

    with tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder, ExitStack() as closing:
        home = Path(folder)
        api, prefect = _prefect(closing, home)
        uri, mlflow = _mlflow(closing, home)
        closing.enter_context(temporary_settings({PREFECT_API_URL: api, PREFECT_HOME: home}))
        stand = closing.enter_context(release_stand(home / "stand", gateways=2, ahead=AHEAD, mlflow_tracking_uri=uri))
        save_workspace(stand.here.settings)
        until = time.monotonic() + seconds
        playing = WatchedTrials(stand, _trials(releases), until=until, tell=console.print)
        for one in playing.runs:
            _tell_mlflow(stand, one.trial.name)
        worker = Program(
            "tests.bench.release_kills_worker",
            str(AHEAD),
            env=stand.here.environment(0) | {"PREFECT_API_URL": api, "PREFECT_HOME": str(home)},
        )
        closing.callback(worker.terminate)
        killed = {
            f"gateway {n}": Victim(stand.here.programs[f"gateway {n}"], _answers(f"{url}/healthz"))
            for n, url in enumerate(stand.gateways, start=1)
        }
        killed["advancing run"] = Victim(worker, _Looks(worker))
        killed["Prefect server"] = Victim(prefect, _answers(f"{api}/health"))
        killed["MLflow server"] = Victim(mlflow, _answers(f"{uri}/health"))
        killer = Killer(killed, seed=releases)
        stand.faults(FAILS, VARIES)
        killer.start()
        try:
            while any(one.open for one in playing.runs) and time.monotonic() < until:
                playing.waves(1)
                console.print(f"killed {killer.tally.total()}; {worker.log().count(PASSED)} passes have ended")
        finally:
            killer.stop()
        stand.faults()
        _settle(stand, worker, api, uri, playing)
        results = playing.results()
        # As ten minutes later: what was under way at a verdict is in the ledger by then, and known to have come late.
        seal_closed(stand.here.engine, AheadClock(AHEAD + PATIENCE + 1))
        closed = [one for one, run_ in zip(results, playing.runs, strict=True) if not run_.open]
        violations = [line for one in closed for line in one.violations]
        violations += [line for one in playing.runs for line in _disagreements(stand, one, uri)]
        violations += _gateways_behind(stand)
        if violations:
            console.print(worker.log()[-3000:], markup=False, highlight=False)
    _print(results, killer.tally, violations, console)
    return {
        "releases": len(results),
        "verdicts": Counter(one.stage.value for one in results),
        "kills": dict(killer.tally),
        "violations": violations,
    }


def _trials(count: int) -> list[Trial]:
    # How soon a harmful version is rolled back is another measurement's: here its looks are killed on purpose.
    patient = frozenset({Stage.ROLLED_BACK})
    kinds = (lambda n: replace(harmful(n), kind=Kind.SAME, may_end=patient), good, same)
    return [kinds[number % 3](number // 3) for number in range(count)]


def _tell_mlflow(stand: ReleaseStand, name: str) -> None:
    """Both versions are in MLflow's registry, as ``register_prompt`` puts them there."""
    for version in (BASELINE, CANDIDATE):
        row = store.get_version(stand.here.engine, TENANT, name, version)
        number = registry.register_version(
            stand.here.settings.mlflow_tracking_uri,
            tenant=TENANT,
            prompt=name,
            version=version,
            template=row.bundle["template"],
            digest=row.digest,
            author="bench",
            changelog="",
        )
        store.note_version(stand.here.engine, TENANT, name, version, mlflow_version=number)


def _settle(stand: ReleaseStand, worker: Program, api: str, uri: str, playing: WatchedTrials) -> None:
    """Everything runs again; two whole passes after that, nothing is left to be repaired."""
    for program, url in ((stand.here.programs["gateway 1"], f"{stand.gateways[0]}/healthz"), (worker, f"{api}/health")):
        program.wait_until_it_answers(url)
    deadline = time.monotonic() + _SETTLED_WITHIN
    before = worker.log().count(PASSED)
    while worker.log().count(PASSED) < before + 2 or not registry.is_up(uri):
        assert time.monotonic() < deadline, f"the passes do not end:\n{worker.log()[-3000:]}"
        time.sleep(0.5)
    for one in playing.runs:
        one.release = stand.find(one.release.id)


def _disagreements(stand: ReleaseStand, run_: Run, uri: str) -> Iterator[str]:
    name, engine = run_.trial.name, engine_of(stand.here.settings)
    verdicts = [step.kind for step in store.steps_of(engine, run_.release.id) if step.kind in _VERDICTS]
    if len(verdicts) != 1:
        yield f"{name}: {len(verdicts)} verdicts when time was up: {', '.join(verdicts) or 'it is still open'}"
    if not run_.open and (found := replay(engine, run_.release.id).difference):
        yield f"{name}: the replay differs: {found}"
    production = stand.production(name)
    if run_.open:
        return
    arms = [
        (arm.name, arm.version.version)
        for route in (_table(stand) or RoutingTable()).routes
        if (route.tenant, route.prompt) == (TENANT, name)
        for arm in route.arms
    ]
    if arms != [("stable", production)]:
        yield f"{name}: {production} is in production, the routing table has {arms}"
    wanted = store.get_version(engine, TENANT, name, production).mlflow_version
    for alias, version in ((registry.PRODUCTION, wanted), (registry.CANARY, "")):
        if (there := registry.alias_version(uri, tenant=TENANT, prompt=name, alias=alias)) != version:
            yield f"{name}: MLflow's alias {alias} is {there or 'nothing'}, not {version or 'nothing'}"


def _gateways_behind(stand: ReleaseStand) -> list[str]:
    """Every live gateway is at the table's revision."""

    async def behind(routing: RoutingStore) -> list[str]:
        table = await routing.load()
        assert table is not None
        late = await routing.wait_until_live(table.revision, patience=10.0)
        live = await routing.live()
        found = [f"{name} is at revision {at} of {table.revision}" for name, at in late.items()]
        return found if len(live) == len(stand.gateways) else [*found, f"{len(live)} gateways are live"]

    return _on_state(stand, behind)


def _table(stand: ReleaseStand) -> RoutingTable | None:
    return _on_state(stand, lambda routing: routing.load())


def _on_state(stand: ReleaseStand, work: Any) -> Any:
    async def go() -> Any:
        redis = connect(stand.here.settings.state_redis_url, timeout=5, connections=2)
        try:
            return await work(RoutingStore(redis))
        finally:
            await redis.aclose()

    return asyncio.run(go())


def _prefect(closing: ExitStack, home: Path) -> tuple[str, Program]:
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    program = Program(
        "deployments.stack.prefect_server",
        *("server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui", "--analytics-off"),
        env={
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": api,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        },
    )
    closing.callback(program.terminate)
    program.wait_until_it_answers(f"{api}/health")
    return api, program


def _mlflow(closing: ExitStack, home: Path) -> tuple[str, Program]:
    port = free_port()
    folder = home / "mlflow"
    folder.mkdir()
    program = Program("deployments.stack.mlflow_server", str(folder), "127.0.0.1", str(port))
    closing.callback(program.terminate)
    program.wait_until_it_answers(f"http://127.0.0.1:{port}/health")
    return f"http://127.0.0.1:{port}", program


def _print(results: Sequence[Result], kills: Mapping[str, int], violations: Sequence[str], console: Console) -> None:
    table = Table(title="Releases while everything around them is killed")
    for column in ("release", "verdict", "canary users", "stable users", "waves", "seconds"):
        table.add_column(column, justify="left" if column in ("release", "verdict") else "right")
    for one in results:
        counts = (one.canary_users, one.stable_users, one.waves, round(one.seconds))
        table.add_row(one.trial.name, one.stage, *map(str, counts))
    console.print(table)
    console.print(f"killed: {', '.join(f'{name} {times} times' for name, times in sorted(kills.items()))}")
    for line in violations:
        console.print(line, style="red", markup=False)


if __name__ == "__main__":
    count, *rest = (float(one) for one in sys.argv[1:])
    print(run(rest[0] if rest else 1800.0, Console(width=132), int(count)))
