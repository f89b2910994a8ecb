"""Releases through HTTP on the real code: gateways, a ledger-writer, the simulator, SQL and both Redis as processes.

What a flow does between its Prefect tasks is called here directly: open a release, start its canary, judge new answers,
take a step, publish the table. Nothing of the decision is replaced.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import msgspec
from msgspec import Struct
from sqlalchemy import func, select

from deployments.traffic.plan import Question, read_pool
from deployments.traffic.report import is_right
from gateway.clock import Clock, SystemClock
from gateway.ledger.queries import unscored_calls
from gateway.storage.engine import reading, writing
from gateway.storage.models import CallRow, PromptVersionRow, ReleaseRow, ScoreRow
from gateway.storage.upsert import insert_missing
from tasks.evaluated import question_of
from tasks.llm import Verdict, client, judge
from tasks.registration import engine_of
from tasks.releases import reconcile, store
from tasks.releases.publishing import Publication, publish
from tasks.releases.reconcile import StepReport
from tasks.releasing import open_release
from tasks.scoring import score_rows
from tasks.specs.bundle import bundle, digest
from tasks.specs.model import PromptSpec
from tasks.specs.reading import SpecFile, read_spec
from tests.bench.processes import Program
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
_IN_FLIGHT = 16
_FEEDBACK = 0.3
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


class Visit(Struct, frozen=True):
    """One call that a user makes, and whether they say what they thought of its answer."""

    prompt: str
    user: str
    question: Question
    feedback: bool = False


class Seen(Struct, frozen=True):
    """What the user got. ``begun`` and ``ended`` are of ``time.time``; status 0: the connection broke."""

    visit: Visit
    begun: float
    ended: float
    status: int
    call_id: str = ""
    version: str = ""
    arm: str = ""
    error: str = ""
    right: bool | None = None
    told: bool = False
    """Whether feedback was posted and taken."""


@dataclass
class ReleaseStand:
    """``gateways`` are addresses; visits go to them in turn. ``clock`` is the control plane's."""

    here: Stage
    gateways: list[str]
    simulator: str
    key: str
    clock: Clock
    pool: tuple[Question, ...] = field(default_factory=read_pool)
    _turn: Iterator[int] = field(default_factory=itertools.count)

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

    def ask(self, visits: Sequence[Visit], in_flight: int = _IN_FLIGHT) -> list[Seen]:
        """All visits, so many at once, in their order; returns when every recorded one is in the ledger."""
        seen = asyncio.run(self.ask_all(visits, in_flight))
        self.wait_for_ledger([one.call_id for one in seen if one.call_id])
        return seen

    async def ask_all(self, visits: Sequence[Visit], in_flight: int = _IN_FLIGHT) -> list[Seen]:
        places = asyncio.Semaphore(in_flight)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=_PATIENCE)
        headers = {"authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as http:

            async def one(visit: Visit) -> Seen:
                async with places:
                    return await self.visit(http, visit)

            return list(await asyncio.gather(*map(one, visits)))

    async def visit(self, http: aiohttp.ClientSession, visit: Visit, url: str = "") -> Seen:
        """One call, and its feedback. ``http`` carries the key."""
        url = url or self.gateways[next(self._turn) % len(self.gateways)]
        body = {
            "model": f"prompt:{visit.prompt}",
            "messages": [],
            "user": visit.user,
            "variables": {"question": visit.question.text},
        }
        begun = time.time()
        try:
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                status, call_id = response.status, response.headers.get("x-promptyard-call-id", "")
                told = msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            return Seen(visit, begun, time.time(), 0, error=type(error).__name__)
        ended = time.time()
        if status != 200:
            code = str(told.get("error", {}).get("code", "")) or f"http_{status}"
            return Seen(visit, begun, ended, status, call_id, error=code)
        right = is_right(visit.question, told["choices"][0]["message"]["content"] or "")
        facts = told["promptyard"]
        fed = visit.feedback and await self._feed(http, url, told["id"], right)
        return Seen(visit, begun, ended, 200, told["id"], facts["version"], facts["arm"], "", right, fed)

    @staticmethod
    async def _feed(http: aiohttp.ClientSession, url: str, call_id: str, right: bool) -> bool:
        body = {"call_id": call_id, "metric": "helpful", "value": float(right)}
        try:
            async with http.post(f"{url}/v1/feedback", json=body) as response:
                return response.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False

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
        engine, clock = self.here.engine, SystemClock()
        ids = {row.id for row in releases}
        scored = 0
        for prompt in sorted({row.prompt for row in releases}):
            found = unscored_calls(engine, clock.now() - 3600, limit, tenant=TENANT, prompt=prompt, sources=("judge",))
            calls = [call for call in found if call.release_id in ids and call.layer == "none"]
            if not calls:
                continue
            spec = PromptSpec.model_validate(store.get_version(engine, TENANT, prompt, calls[0].version).spec)
            verdicts = [
                Verdict(
                    question=question_of(call.variables or {}),
                    answer=call.answer or "",
                    documents=call.context or "",
                )
                for call in calls
            ]
            gate = spec.gate.judge
            judged = judge.fn(self.here.settings, TENANT, gate.model, gate.criteria, verdicts, spec.background)
            now = clock.now()
            rows = [row for call, one in zip(calls, judged, strict=True) for row in score_rows(call, one, spec, now)]
            with writing(engine) as session:
                insert_missing(session, ScoreRow, rows)
            scored += sum(one.score is not None for one in judged)
        return scored

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
