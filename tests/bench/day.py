"""A day of repeated questions with each layer of the cache added in turn: calls upstream, money, and how long it took.

``python -m tests.bench day [--seconds S]``. The day is ``day_plan``'s, of some 20 calls for each of ``S`` seconds that
it takes without a cache, replayed through two gateway processes over one Redis and the simulator at a usual latency.
Each way begins with an empty cache. The semantic layer serves by a verdict that the real path has earned: days before
this one in shadow, judged by the simulator's judge (``earn``); what that cost is told apart. Questions are compared by
the local model where there is one (the extra ``local``, ``PROMPTYARD_EMBEDDING_FOLDER``), by their words elsewhere.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import msgspec
from redis import Redis
from rich.console import Console
from sqlalchemy import Engine, case, func, select

from gateway.ledger.queries import spend
from gateway.prompts.projection import write_routing
from gateway.storage.engine import reading, writing
from gateway.storage.models import PromptRow, PromptVersionRow, SemanticPairRow
from gateway.types import CachePolicy, LayerPolicy, Origin, PromptVersion, SemanticMode, SemanticPolicy
from tasks.evaluators.assertions import check_all
from tasks.llm import LlmClient, client
from tasks.releases.publishing import publish
from tasks.semantic_judging import Judged, forget_old, judge_scope, scopes_to_judge
from tasks.specs.bundle import bundle
from tasks.specs.reading import SpecFile, read_spec
from tasks.warming import WarmBudget, questions_to_warm, warm
from tests.bench.batching import put_documents
from tests.bench.day_figures import Day, Earned, saved, table, violations
from tests.bench.day_plan import CONTENT, Asking, DayPlan, askings, needs, read_traffic
from tests.bench.day_player import Played, play
from tests.bench.load import quantile
from tests.bench.semantic_data import FOLDER
from tests.bench.stage import NEVER_REACHED, Stage, stage
from tests.servers import free_port

TENANT = "day"
CALLS_A_SECOND = 20
GATEWAYS = 2
LATENCY = ("--latency-p50", "400", "--latency-p95", "900")
HASTE = {"latency_ms": {"p50": 20, "p95": 40}}
"""Nobody looks at how long the days before took."""
SHADOW_DAYS = 8
"""At most so many before the day, to earn the verdict in."""

_NOT = LayerPolicy(on=False)
_NO_SEMANTIC = SemanticPolicy(mode=SemanticMode.OFF)
_NOTHING = CachePolicy(exact=False, embedding=_NOT, context=_NOT, semantic=_NO_SEMANTIC)
_EXACT = CachePolicy(local=LayerPolicy(on=True, ttl=10.0), embedding=_NOT, context=_NOT, semantic=_NO_SEMANTIC)
_SEMANTIC = msgspec.structs.replace(_EXACT, semantic=SemanticPolicy(mode=SemanticMode.ON))
_ALL = CachePolicy(local=_EXACT.local, semantic=_SEMANTIC.semantic)
_SHADOW = msgspec.structs.replace(_EXACT, semantic=SemanticPolicy(mode=SemanticMode.SHADOW, judged_share=1.0))
WAYS: dict[str, CachePolicy] = {
    "no cache": _NOTHING,
    "exact, local": _EXACT,
    "+ semantic": _SEMANTIC,
    "+ embedding, context": _ALL,
    "+ warm": _ALL,
}


class Desk:
    """A help desk: two gateways on a stage that all ways share, one prompt whose cache policy changes."""

    def __init__(self, here: Stage, spec: SpecFile, embedding: dict[str, str]) -> None:
        self.here = here
        self.settings = here.settings
        self._spec = spec
        self._embedding = embedding
        self.key = here.key(TENANT, NEVER_REACHED)
        self._online: LlmClient = client(here.settings)
        put_documents(self._online, TENANT)

    def open(self, policy: CachePolicy) -> tuple[PromptVersion, list[str]]:
        """An empty cache, the policy in force, and gateways that remember nothing; the version and their addresses."""
        with Redis.from_url(self.settings.cache_redis_url) as cache:
            cache.flushall()
        version = msgspec.structs.replace(bundle(self._spec.spec, TENANT), cache=policy, daily_budget_usd=None)
        with writing(self.here.engine) as session:
            session.merge(
                PromptVersionRow(
                    tenant=TENANT,
                    name=version.name,
                    version=version.version,
                    digest=version.digest,
                    bundle=msgspec.to_builtins(version),
                    spec=self._spec.spec.model_dump(mode="json", by_alias=True),
                    created_at=0.0,
                )
            )
            session.merge(
                PromptRow(tenant=TENANT, name=version.name, production=version.version, updated_at=time.time())
            )
            table = write_routing(session, self.here.clock)
        addresses = [self.here.start_gateway(f"gateway {number}", env=self._embedding) for number in range(GATEWAYS)]
        published = publish(self.settings, table)
        assert published.verified, published
        return version, addresses

    def close(self) -> None:
        """The gateways end, and what they recorded is in SQL."""
        for number in range(GATEWAYS):
            self.here.programs.pop(f"gateway {number}").terminate()
        deadline = time.monotonic() + 30
        while self.here.undelivered():
            writer = self.here.programs["ledger-writer"]
            assert time.monotonic() < deadline, f"the ledger-writer does not come after:\n{writer.log()[-2000:]}"
            time.sleep(0.1)

    def replay(self, policy: CachePolicy, asked: Sequence[Asking], *, warmed: bool = False) -> Day:
        since = time.time()
        version, addresses = self.open(policy)
        try:
            if warmed:
                self._warm(version)
            begun = time.perf_counter()
            # Without a cache nothing is shared either: on a real day identical calls are not in flight at once.
            cache = "default" if policy.exact else "bypass"
            played = play(addresses, self.key, version.name, [one.text for one in asked], cache)
            seconds = time.perf_counter() - begun
        finally:
            self.close()
        return self._day(asked, played, seconds, self.bill(since))

    def bill(self, since: float) -> tuple[int, Decimal]:
        """Answers that a provider made since then, for anybody, and what all calls cost."""
        groups = spend(self.here.engine, since, time.time() + 1, by=("layer", "kind", "origin"), tenant=TENANT)
        made = sum(one.calls - one.failed for one in groups if one.key["layer"] == "none" and one.key["kind"] == "chat")
        return made, sum((one.cost_usd for one in groups), Decimal(0))

    def _warm(self, version: PromptVersion) -> None:
        """As the flow does it: by the counts of the days before."""
        questions = questions_to_warm.fn(self.settings, self.here.clock, version, None)
        assert len(questions) == version.cache.warm_top, f"only {len(questions)} questions were counted"
        warm.fn(self.settings, version, questions, WarmBudget())

    @staticmethod
    def _day(asked: Sequence[Asking], played: Sequence[Played], seconds: float, bill: tuple[int, Decimal]) -> Day:
        taken = [one.ms for one in played]
        wrong = [
            one.layer
            for asking, one in zip(asked, played, strict=True)
            if not all(check.passed for check in check_all(asking.need.checks, one.text))
        ]
        early = taken[: max(1, len(taken) // 10)]
        return Day(
            layers=dict(Counter(one.layer for one in played)),
            upstream=bill[0],
            usd=bill[1],
            p50_ms=quantile(taken, 0.5),
            p95_ms=quantile(taken, 0.95),
            mean_ms=sum(taken) / len(taken),
            early_ms=sum(early) / len(early),
            wrong=len(wrong),
            wrong_cached=sum(layer not in ("none", "coalesced") for layer in wrong),
            seconds=seconds,
        )


def run(seconds: float, console: Console) -> dict[str, Any]:
    """Prints the table; under ``violations`` where a layer made the day dearer, or an answer wrong that was right."""
    plan = DayPlan(calls=max(50, int(seconds * CALLS_A_SECOND)))
    days, earned = measure(plan, console)
    console.print(table(days, plan, earned))
    figures = {name: asdict(day) | {"saved": saved(day, days)} for name, day in days.items()}
    return {"plan": asdict(plan), "ways": figures, "earned": asdict(earned), "violations": violations(days)}


def measure(plan: DayPlan, console: Console) -> tuple[dict[str, Day], Earned]:
    """All ways with the same askings."""
    spec = read_spec(CONTENT / "prompt.yaml", {})
    known = needs(spec.golden, read_traffic())
    asked = askings(plan, known)
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        port = free_port()
        provider = f"http://127.0.0.1:{port}"
        changes: dict[str, Any] = {"redis_timeout": 5.0, "sql_timeout": 30.0, "tenant": TENANT}
        environment: dict[str, str] = {}
        if find_spec("fastembed") and FOLDER.is_dir():
            changes |= {"embedder": "local", "embedding_folder": str(FOLDER)}
            environment = {"PROMPTYARD_EMBEDDER": "local", "PROMPTYARD_EMBEDDING_FOLDER": str(FOLDER)}
        here = closing.enter_context(stage(folder, provider, **changes))
        here.start("simulator", "infra.simulator", "--port", str(port), *LATENCY, health=f"{provider}/admin/stats")
        here.start_ledger_writer()
        closing.callback(lambda: client(here.settings).close())
        desk = Desk(here, spec, environment)
        before = [askings(replace(plan, seed=1_000 + day), known) for day in range(SHADOW_DAYS)]
        with console.status("") as status:
            status.update("day: days before, in shadow")
            httpx.put(f"{provider}/admin/faults", json={"rules": [HASTE]}, timeout=10).raise_for_status()
            earned = earn(desk, before)
            httpx.put(f"{provider}/admin/faults", json={"rules": []}, timeout=10).raise_for_status()
            days: dict[str, Day] = {}
            for name, policy in WAYS.items():
                status.update(f"day: {name}")
                days[name] = desk.replay(policy, asked, warmed="warm" in name)
    return days, earned


def earn(desk: Desk, before: Sequence[Sequence[Asking]]) -> Earned:
    """Days in shadow, each judged when it is over, until the scope has earned to serve."""
    since = time.time()
    last: Judged | None = None
    days = 0
    for asked in before:
        version, addresses = desk.open(_SHADOW)
        try:
            play(addresses, desk.key, version.name, [one.text for one in asked])
        finally:
            desk.close()
        days += 1
        for scope in scopes_to_judge.fn(desk.settings):
            last = judge_scope.fn(desk.settings, desk.here.clock, scope, 5_000, 10.0)
        forget_old.fn(desk.settings, desk.here.clock)
        if last is not None and last.standing.state == "serving":
            break
    judging = spend(desk.here.engine, since, time.time() + 1, by=("origin",), tenant=TENANT)
    usd = sum((one.cost_usd for one in judging if one.key["origin"] == Origin.JUDGE), Decimal(0))
    if last is None:
        return Earned(days, {}, 0, 0, 1.0, None, False, usd)
    found = last.standing
    judged = _judged(desk.here.engine)
    return Earned(days, judged, found.pairs, found.wrong, found.upper, found.threshold, found.state == "serving", usd)


def _judged(engine: Engine) -> dict[str, tuple[int, int]]:
    of = SemanticPairRow
    right = func.sum(case((of.correct.is_(True), 1), else_=0))
    with reading(engine) as session:
        rows = session.execute(select(of.veto, func.count(of.correct), right).group_by(of.veto)).all()
    return {veto: (int(number), int(good or 0)) for veto, number, good in rows}
