"""1,000 simulated releases of each kind on the canary's own decision, looked at after every user.

Beside it: a t-test after every user, per user, and per call as if calls of one user were users of their own. Then fewer
releases from rows as the ledger holds them: evidence, blocks, decision and the steps of the plan, once a minute.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.statistics.canary import CanaryOutcome, CanaryPolicy
from tests.bench.canary_ledger import through_the_ledger
from tests.bench.canary_worlds import (
    ALPHA,
    MARGIN,
    Ended,
    Metric,
    Users,
    World,
    arrive,
    looked_at_after_every_user,
    looked_at_once,
    naive_alarms,
    policy,
)
from tests.bench.forecast_check import check_forecasts
from tests.bench.promises import Promise, print_promises, promise_figures
from tests.bench.semantic_serving import Rate

RELEASES = 1_000
SCORES_WITHIN, FAILURES_WITHIN = 400, 520
_SEED = 52
_NEVER = 1e9
"""A minimum duration that no release here reaches: nothing is promoted, so that every rollback is seen."""
_ANY_LOSS = 0.9
"""A tolerance that nothing exceeds: nothing is rolled back, so that every promotion is seen."""

_SAME = Metric(0.80, 0.80, 0.2)
_WORSE = Metric(0.80, 0.75, 0.2)
_NEVER_BAD = Metric(0.0, 0.0)
_FIVE_CALLS = {"failed": Metric(0.02, 0.02, 0.1, calls=5, levels=1)}
_ALONE = {"failed": _NEVER_BAD, "slow": _NEVER_BAD, "dear": _NEVER_BAD}

Look = Callable[[Users, CanaryPolicy], Ended]


@dataclass(frozen=True)
class Kind:
    """Releases of one kind. ``once``: looked at at the end only, which finds whatever a look in between would have."""

    name: str
    world: World
    how: CanaryPolicy
    once: bool = False


@dataclass
class Releases:
    """How they ended, and after how many users the t-tests first called the canary worse, by name of the test."""

    ended: list[Ended] = field(default_factory=list)
    naive: Counter[str] = field(default_factory=Counter)

    def rate(self, outcome: CanaryOutcome) -> Rate:
        return Rate(sum(one.outcome is outcome for one in self.ended), len(self.ended))

    def alarms(self, test: str) -> Rate:
        return Rate(self.naive[test], len(self.ended))

    def users_until(self, outcome: CanaryOutcome, share: float) -> float:
        """Canary users within which so many of all releases ended so; infinite when fewer ever did."""
        users = [one.canary_users if one.outcome is outcome else np.inf for one in self.ended]
        return float(np.quantile(users, share, method="higher"))

    def figures(self) -> dict[str, Any]:
        shares = {one.value: [self.rate(one).share, *self.rate(one).interval] for one in CanaryOutcome}
        alarms = {f"t-test {name}": [self.alarms(name).share, *self.alarms(name).interval] for name in self.naive}
        users = {
            f"{outcome.value} {name}": self.users_until(outcome, share)
            for outcome in (CanaryOutcome.ROLL_BACK, CanaryOutcome.PROMOTE)
            for name, share in (("median", 0.5), ("p90", 0.9))
        }
        return {"releases": len(self.ended), **shares, **alarms, "canary users until": users}


EQUAL, EQUAL_ON, SCORES, FAILURES, FAILURES_ON = "equal", "equal, not promoted", "scores", "failures", "failures, on"
AT_MARGIN, FAILURES_AT_MARGIN = "scores at the margin", "failures at the margin"
CALLS, CALLS_AT_MARGIN = "equal, 5 calls a user", "scores at the margin, 5 calls a user"
KINDS = (
    Kind(EQUAL, World(_SAME), policy()),
    Kind(EQUAL_ON, World(_SAME, users=5_500), policy(min_duration=_NEVER), once=True),
    Kind(SCORES, World(_WORSE), policy()),
    Kind(FAILURES_ON, World(_SAME, Metric(0.01, 0.05), users=5_500), policy(min_duration=_NEVER)),
    Kind(FAILURES, World(_SAME, Metric(0.01, 0.05)), policy()),
    Kind(AT_MARGIN, World(_WORSE, **_ALONE, users=5_500), policy(tolerance=_ANY_LOSS), once=True),
    Kind(
        FAILURES_AT_MARGIN,
        World(Metric(1.0, 1.0), Metric(0.01, 0.06), _NEVER_BAD, _NEVER_BAD, users=5_500),
        policy(tolerance=_ANY_LOSS),
        once=True,
    ),
    Kind(
        CALLS,
        World(Metric(0.8, 0.8, 0.2, calls=5), **_FIVE_CALLS, users=5_500),
        policy(min_duration=_NEVER),
        once=True,
    ),
    Kind(
        CALLS_AT_MARGIN,
        World(Metric(0.8, 0.75, 0.2, calls=5), **_ALONE, users=5_500),
        policy(tolerance=_ANY_LOSS),
        once=True,
    ),
)


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: the longest that all releases may take; with fewer than 1,000 of a kind nothing holds."""
    found: dict[str, Releases] = {}
    until = time.monotonic() + seconds
    for number, kind in enumerate(KINDS):
        found[kind.name] = simulate(kind, seconds=(until - time.monotonic()) / (len(KINDS) - number))
        console.print(f"{kind.name}: {dict(Counter(one.outcome.value for one in found[kind.name].ended))}")
    _print(found, console)
    ledger, ledger_promises = through_the_ledger(console)
    expected, expected_promises = check_forecasts(console)
    promises = [*_promises(found), *ledger_promises, *expected_promises]
    print_promises("the canary, simulated", promises, console)
    kinds = {name: one.figures() for name, one in found.items()}
    return {"kinds": kinds, "ledger": ledger, "expected": expected} | promise_figures(promises)


def simulate(kind: Kind, *, releases: int = RELEASES, seconds: float = 300.0, seed: int = _SEED) -> Releases:
    """As many releases as fit into so many seconds."""
    rng = np.random.default_rng(seed)
    look: Look = looked_at_once if kind.once else looked_at_after_every_user
    found, until = Releases(), time.monotonic() + seconds
    for _ in range(releases):
        users = arrive(kind.world, rng)
        found.ended.append(look(users, kind.how))
        by_user = users.score_calls.mean(axis=1)
        found.naive["per user"] += naive_alarms(by_user, users.on_canary) is not None
        found.naive["per call"] += naive_alarms(users.score_calls, users.on_canary) is not None
        if time.monotonic() > until:
            break
    return found


def _promises(found: Mapping[str, Releases]) -> list[Promise]:
    def at_most(what: str, name: str, outcome: CanaryOutcome) -> Promise:
        rate = found[name].rate(outcome)
        held = rate.share <= ALPHA and rate.of >= RELEASES
        return Promise(what, f"≤ {ALPHA:.0%}", _of(rate), held)

    def within(what: str, name: str, users: int) -> Promise:
        one = found[name]
        late = one.users_until(CanaryOutcome.ROLL_BACK, 0.9)
        reached = f"{late:,.0f} canary users (median {one.users_until(CanaryOutcome.ROLL_BACK, 0.5):,.0f})"
        return Promise(what, f"p90 ≤ {users}", reached, late <= users and len(one.ended) >= RELEASES)

    def beside(what: str, rate: Rate) -> Promise:
        return Promise(what, "–", _of(rate))

    back, up = CanaryOutcome.ROLL_BACK, CanaryOutcome.PROMOTE
    equal = found[EQUAL]
    return [
        at_most("an equal version is rolled back", EQUAL, back),
        at_most("the same, never promoted, 825 canary users on", EQUAL_ON, back),
        beside("the same with a t-test after every user", found[EQUAL_ON].alarms("per user")),
        beside("an equal version is promoted within 600 canary users", equal.rate(up)),
        at_most(f"scores 0.80 → 0.75, which is the margin of {MARGIN:g}: promoted", SCORES, up),
        at_most("the same, nothing else in the way, never rolled back", AT_MARGIN, up),
        at_most("failures 1 % → 6 %, nothing else in the way, never rolled back: promoted", FAILURES_AT_MARGIN, up),
        within("scores 0.80 → 0.75 (spread 0.2): rolled back", SCORES, SCORES_WITHIN),
        within("failures 1 % → 5 %, never promoted: rolled back", FAILURES_ON, FAILURES_WITHIN),
        beside("failures 1 % → 5 %, which is within the margin of 0.05: promoted first", found[FAILURES].rate(up)),
        at_most("5 calls a user, correlated, equal, never promoted: rolled back", CALLS, back),
        beside("the same with a t-test per user", found[CALLS].alarms("per user")),
        beside("the same with a t-test per call", found[CALLS].alarms("per call")),
        at_most("5 calls a user, correlated, at the margin, never rolled back: promoted", CALLS_AT_MARGIN, up),
    ]


def _of(rate: Rate) -> str:
    return str(rate) if rate.of >= RELEASES else f"{rate} of only {rate.of}"


def _print(found: Mapping[str, Releases], console: Console) -> None:
    table = Table(title="simulated releases, K = 4 guardrails, k = 4 stable users a block, α = 0.05, margin 0.05")
    columns = (
        "rolled back",
        "promoted",
        "canary users until the end: median",
        "90 %",
        "t-test a user",
        "t-test a call",
    )
    table.add_column("kind")
    for column in columns:
        table.add_column(column, justify="right")
    for name, one in found.items():
        ended = [release.canary_users for release in one.ended if release.outcome is not CanaryOutcome.HOLD] or [0]
        middle, late = (f"{np.quantile(ended, share, method='higher'):,.0f}" for share in (0.5, 0.9))
        rates = (one.rate(CanaryOutcome.ROLL_BACK), one.rate(CanaryOutcome.PROMOTE))
        once = all(kind.once for kind in KINDS if kind.name == name)
        users = ("–", "–") if once else (middle, late)
        table.add_row(name, *map(str, rates), *users, str(one.alarms("per user")), str(one.alarms("per call")))
    console.print(table)
