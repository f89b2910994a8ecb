"""Trials of releases on a stand: users come in waves, each wave is judged and looked at, until every release is closed.

What must hold of each is said by its kind; what must hold of all: nobody goes back to the old version while a release
is open, everybody is on the version in production once it is closed, feedback is credited to the version that answered.
"""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, select

from gateway.storage.engine import reading
from gateway.storage.models import CallRow, ReleaseRow, ScoreRow
from gateway.types import CANARY
from tasks.releases import store
from tasks.releases.evidence import FAILURE
from tasks.releases.stages import Stage
from tests.bench.release_stand import QUICK, ReleaseStand
from tests.bench.release_visits import Seen, Visit

BASELINE, CANDIDATE = "1.0.0", "1.1.0"
USERS_A_WAVE = 40
RETURNING = 12
"""Users of earlier waves who ask again in each."""
MOST_CANARY_USERS = 120
"""Who may see a harmful version."""
_FEEDBACK = 0.3

FAILING = "gpt-4.1-mini-2025-04-14"
"""As able as the baseline's model, under a name of its own, so that the simulator can fail it alone."""
VARYING = "gpt-4.1-nano"
UNREACHABLE = "gpt-4.1-mini-unreachable"
FAILS = {"scope": {"model": FAILING}, "error_rate": 0.2, "error_status": 400}
"""A fifth of the calls are rejected: what a prompt with broken parameters looks like."""
VARIES = {"scope": {"model": VARYING}, "error_rate": 0.03, "error_status": 400}
"""Beside its weaker answers, some of its calls are rejected, whichever the arm."""
IS_DOWN = {"scope": {"model": UNREACHABLE}, "outage": True}
OPENAI_DOWN = {"scope": {"provider": "openai"}, "outage": True}
ALL_DOWN = {"outage": True}


class Kind(StrEnum):
    SAME = "A/A"
    HARMFUL = "harmful"
    GOOD = "good"
    OUTAGE = "outage"


@dataclass(frozen=True)
class Trial:
    """A release of a prompt of its own. ``both``: top-level fields of either version, ``candidate``: of the new one."""

    name: str
    kind: Kind
    story: str = ""
    both: Mapping[str, Any] = field(default_factory=dict)
    candidate: Mapping[str, Any] = field(default_factory=dict)
    may_end: frozenset[Stage] = frozenset({Stage.PROMOTED, Stage.ROLLED_BACK, Stage.INCONCLUSIVE})


def same(number: int) -> Trial:
    """The same prompt under another number, on a model whose answers vary: what is rolled back is a false alarm."""
    return Trial(f"same-{number}", Kind.SAME, both={"model": {"chain": [f"openai/{VARYING}"]}})


def harmful(number: int) -> Trial:
    candidate = {"model": {"chain": [f"openai/{FAILING}"]}}
    return Trial(f"harmful-{number}", Kind.HARMFUL, candidate=candidate, may_end=frozenset({Stage.ROLLED_BACK}))


def good(number: int) -> Trial:
    """It cites its sources, and is as right as before."""
    return Trial(f"good-{number}", Kind.GOOD, CANDIDATE, may_end=frozenset({Stage.PROMOTED}))


def under_outage(name: str, *may_end: Stage, **candidate: Any) -> Trial:
    """Neither promoted nor blamed while it lasts."""
    return Trial(name, Kind.OUTAGE, candidate=candidate, may_end=frozenset(may_end or {Stage.INCONCLUSIVE}))


@dataclass
class Run:
    """A trial as it goes. ``seconds`` from the canary's start to its verdict."""

    trial: Trial
    release: ReleaseRow
    begun: float
    seen: list[Seen] = field(default_factory=list)
    afterwards: list[Seen] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    waves: int = 0
    seconds: float = 0.0

    @property
    def open(self) -> bool:
        return self.release.open_slot is not None


@dataclass(frozen=True)
class Result:
    """What came of a trial. ``violations`` is empty if all held."""

    trial: Trial
    stage: Stage
    canary_users: int
    stable_users: int
    waves: int
    seconds: float
    reason: str
    violations: tuple[str, ...]


class Trials:
    """Plays trials beside each other on one stand; ``tell`` hears of each wave.

    ``until``: after that time of ``time.monotonic`` no more users come.
    """

    def __init__(
        self,
        stand: ReleaseStand,
        trials: Sequence[Trial],
        *,
        seed: int = 0,
        users: int = USERS_A_WAVE,
        canary: Mapping[str, Any] = QUICK,
        until: float = math.inf,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._stand = stand
        self._users = users
        self._canary = canary
        self._until = until
        self._seed = seed
        self._draw = random.Random(seed)
        self._tell = tell
        self.runs = [self._start(trial) for trial in trials]

    def _start(self, trial: Trial) -> Run:
        both = {"canary": dict(self._canary), **trial.both}
        self._stand.release(self._stand.spec(trial.name, BASELINE, **both))
        candidate = self._stand.spec(trial.name, CANDIDATE, story=trial.story, **(both | trial.candidate))
        release = self._stand.release(candidate, salt=f"{trial.name} of {self._seed}")
        return Run(trial, release, time.monotonic())

    def waves(self, most: int) -> None:
        """So many waves of users, or until every release is closed."""
        for _ in range(most):
            running = [run for run in self.runs if run.open]
            if not running or time.monotonic() > self._until:
                return
            visits = [visit for run in running for visit in self._visits(run)]
            self._draw.shuffle(visits)
            by_prompt: dict[str, list[Seen]] = defaultdict(list)
            for one in self._stand.ask(visits):
                by_prompt[one.visit.prompt].append(one)
            self._stand.score([run.release for run in running])
            for run in running:
                run.seen += by_prompt[run.trial.name]
                run.waves += 1
                self._look(run)
            still = sum(run.open for run in running)
            self._tell(f"{len(visits)} calls; {still} of {len(self.runs)} releases are open")

    def close(self) -> None:
        """Time is up for what is open."""
        for run in self.runs:
            if run.open:
                self._look(run, later=float(run.release.policy["canary"]["max_duration"]))

    def results(self) -> list[Result]:
        """Everybody asks once more, after the verdicts."""
        for run in self.runs:
            again = self._draw.sample(run.users, min(RETURNING, len(run.users)))
            run.afterwards = self._stand.ask([self._visit(run, user) for user in again])
        return [self._result(run) for run in self.runs]

    def _visits(self, run: Run) -> list[Visit]:
        again = self._draw.sample(run.users, min(RETURNING, len(run.users)))
        fresh = [f"user-{len(run.users) + number}" for number in range(self._users)]
        run.users += fresh
        return [self._visit(run, user) for user in fresh + again]

    def _visit(self, run: Run, user: str) -> Visit:
        return Visit(run.trial.name, user, self._draw.choice(self._stand.pool), self._draw.random() < _FEEDBACK)

    def _look(self, run: Run, *, later: float = 0.0) -> None:
        report = self._stand.advance(run.release.id, later=later)
        assert report is not None, f"nobody else advances {run.release.id}"
        run.release = report.release
        if not run.open:
            run.seconds = time.monotonic() - run.begun

    def _result(self, run: Run) -> Result:
        rows = self._calls(run)
        arms: dict[str, list[bool]] = defaultdict(list)
        for row in rows:
            arms[row.user].append(row.arm == CANARY)
        canary = sum(any(seen) for seen in arms.values())
        stage = Stage(run.release.stage)
        return Result(
            trial=run.trial,
            stage=stage,
            canary_users=canary,
            stable_users=len(arms) - canary,
            waves=run.waves,
            seconds=run.seconds,
            reason=run.release.reason,
            violations=tuple(self._violations(run, stage, rows, arms, canary)),
        )

    def _violations(
        self, run: Run, stage: Stage, rows: Sequence[CallRow], arms: Mapping[str, Sequence[bool]], canary: int
    ) -> list[str]:
        name = run.trial.name
        found: list[str] = []
        if stage not in run.trial.may_end:
            found.append(f"{name}: {stage}, not {' or '.join(sorted(run.trial.may_end))}: {run.release.reason}")
        if run.trial.kind is Kind.HARMFUL and canary > MOST_CANARY_USERS:
            found.append(f"{name}: {canary} users saw the harmful version")
        back = [user for user, seen in arms.items() if list(seen) != sorted(seen)]
        if back:
            found.append(f"{name}: {len(back)} users went back while the release was open, such as {back[0]}")
        if run.trial.kind is Kind.OUTAGE and not any(row.fell_back or row.status != "ok" for row in rows):
            found.append(f"{name}: no call met the outage")
        if run.trial.kind is Kind.OUTAGE and self._blamed(run):
            found.append(f"{name}: failures of the provider are counted against the candidate")
        serves = self._stand.production(name)
        if serves != (CANDIDATE if stage is Stage.PROMOTED else BASELINE):
            found.append(f"{name}: {stage}, but {serves} is in production")
        strays = [one for one in run.afterwards if one.status == 200 and one.version != serves]
        if strays:
            found.append(f"{name}: {len(strays)} users got {strays[0].version} after the release")
        if not any(one.status == 200 for one in run.afterwards):
            found.append(f"{name}: nobody got an answer after the release: {run.afterwards[0].error}")
        told = self._versions(run)
        wrong = [one for one in run.seen if one.status == 200 and told.get(one.call_id) != one.version]
        if wrong:
            found.append(f"{name}: {len(wrong)} answers are not in the ledger as they were given")
        return found + self._feedback_violations(run)

    def _feedback_violations(self, run: Run) -> list[str]:
        """Each posted feedback is in the ledger, at the version that the user was answered by."""
        posted = {one.call_id: one.version for one in [*run.seen, *run.afterwards] if one.told}
        query = (
            select(ScoreRow.call_id, CallRow.version)
            .join(CallRow, and_(CallRow.id == ScoreRow.call_id, CallRow.tenant == ScoreRow.tenant))
            .where(CallRow.prompt == run.trial.name, ScoreRow.source == "feedback")
        )
        credited: dict[str, str] = {}
        deadline = time.monotonic() + 30
        while len(credited) < len(posted) and time.monotonic() < deadline:
            with reading(self._stand.here.engine) as session:
                credited = {row.call_id: row.version for row in session.execute(query)}
        if credited == posted:
            return []
        return [
            f"{run.trial.name}: {len(posted)} users gave feedback, {len(credited)} are credited, or to another version"
        ]

    def _calls(self, run: Run) -> list[CallRow]:
        query = select(CallRow).where(CallRow.release_id == run.release.id, CallRow.origin == "live")
        with reading(self._stand.here.engine) as session:
            return list(session.scalars(query.order_by(CallRow.started_at, CallRow.id)))

    def _versions(self, run: Run) -> dict[str, str]:
        """By call, also of those that were answered when the release had just been closed."""
        query = select(CallRow.id, CallRow.version).where(CallRow.prompt == run.trial.name, CallRow.origin == "live")
        with reading(self._stand.here.engine) as session:
            return dict(session.execute(query).tuples().all())

    def _blamed(self, run: Run) -> bool:
        """Whether the last look at a release saw failures of the candidate."""
        evidence = store.steps_of(self._stand.here.engine, run.release.id)[-1].evidence
        rails = evidence.get("decision", {}).get("guardrails", ())
        return any(rail["metric"] == FAILURE and (rail["canary_mean"] or 0.0) > 0.0 for rail in rails)
