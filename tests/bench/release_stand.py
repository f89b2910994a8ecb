"""Releases through HTTP on the real code: gateways, a ledger-writer, the simulator, SQL and both Redis as processes.

What a flow does between its Prefect tasks is called here directly: open a release, start its canary, judge new answers,
take a step, publish the table. Nothing of the decision is replaced.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import func, select

from deployments.traffic.plan import Question, read_pool
from gateway.clock import Clock, SystemClock
from gateway.ledger.queries import unscored_calls
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, PromptVersionRow, ReleaseRow, ScoreRow
from gateway.storage.upsert import insert_missing
from tasks.evaluated import question_of
from tasks.evaluators.judge import judge_version
from tasks.llm import Verdict, client, judge
from tasks.registration import engine_of
from tasks.releases import reconcile, store
from tasks.releases.publishing import Publication, publish
from tasks.releases.reconcile import StepReport
from tasks.releasing import open_release
from tasks.scoring import judge_of, score_rows
from tasks.specs.bundle import bundle, digest
from tasks.specs.model import PromptSpec
from tasks.specs.reading import SpecFile, read_spec
from tests.bench.processes import Program
from tests.bench.release_visits import IN_FLIGHT, Seen, Visit, Visitors
from tests.bench.stage import NEVER_REACHED, Stage, stage
from tests.servers import free_port

TENANT = "acme"
CONTENT = Path(__file__).resolve().parents[2] / "deployments" / "prompts" / "help-centre"
WINDOW = 600.0
"""Seconds of a user's answers and of waiting for their scores, under ``QUICK``: longer than a wave on any machine."""
QUICK: Mapping[str, Any] = {
    "steps": [20, 50],
    "margin": 0.1,
    "window": WINDOW / 2,
    "scoring_grace": WINDOW / 2,
    "min_step": 0.1,
    "min_blocks": 5,
}
"""A canary that is decided within some hundred users."""
_PATIENCE = 60.0
_IDS_A_QUERY = 400


class AheadClock:
    """The machine's clock, some seconds ahead: for a control plane that looks when every user's window has closed.

    Users come in waves and ask all that they ask at once: that they are looked at a minute later changes nothing.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return time.time() + self.seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds


@dataclass
class ReleaseStand:
    """``gateways`` are addresses; ``clock`` is the control plane's."""

    here: Stage
    gateways: list[str]
    simulator: str
    key: str
    clock: Clock
    pool: tuple[Question, ...] = field(default_factory=read_pool)

    def spec(self, name: str, version: str, *, story: str = "", **changes: Any) -> PromptSpec:
        """The help centre's prompt under another name; ``story``: one of its later versions, such as 1.1.0.

        ``changes`` are top-level fields; those of ``model`` and ``canary`` go over what is there.
        """
        path = CONTENT / (f"story/{story}.yaml" if story else "prompt.yaml")
        content = read_spec(path).spec.model_dump(mode="json", by_alias=True)
        for section in ("model", "canary"):
            content[section] |= changes.pop(section, {})
        content |= {"name": name, "version": version, "budget": {}, **changes}
        return PromptSpec.model_validate(content)

    def register(self, spec: PromptSpec) -> None:
        """Keep a version in the ledger, as ``register_prompt`` does before it tells MLflow."""
        row = PromptVersionRow(
            tenant=TENANT,
            name=spec.name,
            version=spec.version,
            digest=digest(spec),
            bundle=msgspec.to_builtins(bundle(spec, TENANT)),
            spec=spec.model_dump(mode="json", by_alias=True),
            source="",
            author="bench",
            changelog="",
            mlflow_version="",
            verdict="",
            gate_run="",
        )
        store.register_version(self.here.engine, self.clock, row)

    def release(self, spec: PromptSpec, *, salt: str | None = None) -> ReleaseRow:
        """Register a version and start its canary; a first version serves everybody at once."""
        self.register(spec)
        file = SpecFile(CONTENT / "prompt.yaml", CONTENT, spec, (), ())
        opened = open_release.fn(self.here.settings, self.clock, file, TENANT, "bench", salt, "")
        row, table = reconcile.start_canary(self.here.engine, self.clock, opened)
        published = publish(self.here.settings, table, patience=_PATIENCE)
        assert published.verified, published
        return row

    def find(self, release_id: str) -> ReleaseRow:
        return store.get_release(self.here.engine, release_id)

    def production(self, name: str) -> str:
        return store.get_prompt(self.here.engine, TENANT, name).production

    # --- traffic ---------------------------------------------------------------------------------------------

    def ask(self, visits: Sequence[Visit], in_flight: int = IN_FLIGHT) -> list[Seen]:
        """All visits, so many at once, in their order; returns when every recorded one is in the ledger."""
        seen = asyncio.run(Visitors(self.gateways, self.key).ask(visits, in_flight))
        self.wait_for_ledger([one.call_id for one in seen if one.call_id])
        return seen

    def wait_for_ledger(self, calls: Sequence[str]) -> None:
        """Until the ledger-writer has brought all of them to SQL. Raises AssertionError after a minute."""
        deadline = time.monotonic() + _PATIENCE
        for start in range(0, len(calls), _IDS_A_QUERY):
            part = calls[start : start + _IDS_A_QUERY]
            query = select(func.count()).select_from(CallRow).where(CallRow.id.in_(part))
            while (there := self._count(query)) < len(part):
                assert time.monotonic() < deadline, f"{len(part) - there} of {len(part)} calls are not in the ledger"
                time.sleep(0.05)  # another process ships them: there is nothing to wait on

    def _count(self, query: Any) -> int:
        with reading(self.here.engine) as session:
            return int(session.scalar(query) or 0)

    # --- what the flows of every minute do ---------------------------------------------------------------------

    def score(self, releases: Sequence[ReleaseRow], limit: int = 5_000) -> int:
        """Judge the new answers of these releases' users, as ``score_calls`` does; returns how many got a score.

        Scores are stamped by the machine's clock: they come right after the answers.
        """
        engine, now = self.here.engine, SystemClock().now()
        ids, scored = {row.id for row in releases}, 0
        for prompt in sorted({row.prompt for row in releases}):
            found = unscored_calls(engine, now - 3600, limit, tenant=TENANT, prompt=prompt, sources=("judge",))
            calls = [call for call in found if call.release_id in ids and call.layer == "none"]
            for version in sorted({call.version for call in calls}):
                scored += self._score([call for call in calls if call.version == version])
        return scored

    def _score(self, calls: Sequence[CallRow]) -> int:
        """As ``score_prompt`` does, of one version."""
        engine, (prompt, version) = self.here.engine, (calls[0].prompt, calls[0].version)
        spec = PromptSpec.model_validate(store.get_version(engine, TENANT, prompt, version).spec)
        by, background = judge_of(engine, TENANT, prompt, version, spec)
        verdicts = [
            Verdict(question=question_of(call.variables or {}), answer=call.answer or "", documents=call.context or "")
            for call in calls
        ]
        judged = judge.fn(self.here.settings, TENANT, by.model, by.criteria, verdicts, background)
        now, name = SystemClock().now(), judge_version(by.model, by.criteria, background.pack_size)
        rows = [row for call, one in zip(calls, judged, strict=True) for row in score_rows(call, one, spec, now, name)]
        with writing(engine) as session:
            insert_missing(session, ScoreRow, rows)
        return sum(one.score is not None for one in judged)

    def advance(self, release_id: str, *, later: float = 0.0) -> StepReport | None:
        """One step, its table published; ``later``: seconds that the step's clock is further ahead."""
        clock = AheadClock(self.clock.now() - time.time() + later) if later else self.clock
        report = reconcile.advance(self.here.engine, clock, release_id, f"bench-{release_id}")
        if report is not None and report.table is not None:
            published = publish(self.here.settings, report.table, patience=_PATIENCE)
            assert published.verified, published
        return report

    def roll_back(self, name: str, *, to: str = "") -> Publication:
        """What ``promptyard rollback`` does."""
        _, _, table = store.roll_back(self.here.engine, self.clock, tenant=TENANT, prompt=name, to=to, actor="bench")
        return publish(self.here.settings, table)

    # --- the provider ------------------------------------------------------------------------------------------

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """The simulator's rules instead of all earlier ones."""
        httpx.put(f"{self.simulator}/admin/faults", json={"rules": rules}, timeout=10).raise_for_status()

    def put_documents(self) -> None:
        """Every article of the help centre, through the API."""
        with httpx.Client(base_url=self.gateways[0], headers={"authorization": f"Bearer {self.key}"}) as http:
            for path in sorted((CONTENT / "documents").glob("*.md")):
                title, _, text = path.read_text(encoding="utf-8").partition("\n")
                body = {"title": title.removeprefix("# "), "text": text.strip()}
                http.put(f"/v1/documents/help-centre/{path.stem}", json=body, timeout=60).raise_for_status()


@contextlib.contextmanager
def release_stand(
    folder: Path, *, gateways: int = 1, workers: int = 1, ahead: float = WINDOW + 1, **changes: Any
) -> Iterator[ReleaseStand]:
    """A running stand with the help centre's documents. ``gateways`` processes of ``workers`` workers each.

    ``ahead``: seconds that the control plane's clock is ahead. ``changes`` are fields of ``Settings``.
    """
    port = free_port()
    simulator = f"http://127.0.0.1:{port}"
    program = Program("infra.simulator", "--port", str(port), "--latency-p50", "1", "--latency-p95", "2")
    with contextlib.ExitStack() as closing:
        closing.callback(program.terminate)
        here = closing.enter_context(stage(folder, simulator, **({"redis_timeout": 2.0} | changes)))
        closing.callback(lambda: client(here.settings).close())
        closing.callback(lambda: engine_of(here.settings).dispose())
        here.programs["simulator"] = program
        key = here.key(TENANT, NEVER_REACHED)
        here.start_ledger_writer()
        urls = _start_gateways(here, gateways, workers)
        program.wait_until_it_answers(f"{simulator}/healthz")
        built = ReleaseStand(here, urls, simulator, key, AheadClock(ahead) if ahead else SystemClock())
        built.put_documents()
        yield built


def _start_gateways(here: Stage, count: int, workers: int) -> list[str]:
    """All at once; returns their addresses when they answer."""
    ports = [free_port() for _ in range(count)]
    env = {"PROMPTYARD_WORKERS": str(workers)}
    for number, port in enumerate(ports, start=1):
        here.start(f"gateway {number}", "gateway.app", env=here.environment(port) | env)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    for number, url in enumerate(urls, start=1):
        here.programs[f"gateway {number}"].wait_until_it_answers(f"{url}/healthz")
    return urls
