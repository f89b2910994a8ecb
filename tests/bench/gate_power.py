"""1,000 simulated gates each on the gate's own decision: does a drop get through, is an equal prompt let through?

200 items × 3 repeats under both versions, the policy that a prompt.yaml has by default, and three more repeats of the
items that changed or are flaky. Beside it: the same scores without pairing (a bound of the difference of two means),
and the two means alone, as one compares by eye.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from tasks.gate_rules import gate_policy
from tasks.specs.model import GateSpec
from tasks.statistics.gate import GatePolicy, decide_gate
from tasks.statistics.repeats import Allowance, plan_repeats
from tests.bench.gate_worlds import SCORE, WORLDS, Evaluation, World, evaluate, repeat
from tests.bench.promises import Promise, print_promises, promise_figures
from tests.bench.semantic_serving import Rate

GATES = 1_000
ITEMS = 200
REPEATS = 3
MORE_REPEATS = 3
DROP = 0.05
STOPPED, FAILED_EQUAL, PASSED_EQUAL = 0.85, 0.05, 0.85
_SEED = 200


@dataclass
class Gates:
    """Simulated gates of one world and drop. ``spread``: of an item's difference; ``changed``: items with any."""

    outcomes: Counter[str] = field(default_factory=Counter)
    unpaired: int = 0
    by_eye: int = 0
    spreads: list[float] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.outcomes.total()

    def rate(self, outcome: str) -> Rate:
        return Rate(self.outcomes[outcome], self.count)

    def figures(self) -> dict[str, Any]:
        rates = {name: self.rate(name) for name in ("pass", "fail", "inconclusive")}
        rates |= {"unpaired pass": Rate(self.unpaired, self.count), "by eye pass": Rate(self.by_eye, self.count)}
        return {
            "gates": self.count,
            "spread of a difference": float(np.mean(self.spreads)),
            "items that changed": float(np.mean(self.changed)),
            **{name: [rate.share, *rate.interval] for name, rate in rates.items()},
        }


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: the longest that all gates may take; with fewer than 1,000 of a kind nothing holds."""
    worlds: dict[str, tuple[Gates, Gates]] = {}
    until = time.monotonic() + seconds
    for number, world in enumerate(WORLDS):
        share = (until - time.monotonic()) / (len(WORLDS) - number) / 2
        worlds[world.name] = simulate(world, 0.0, seconds=share), simulate(world, DROP, seconds=share)
        equal, worse = worlds[world.name]
        console.print(f"{world.name}: equal {dict(equal.outcomes)}, {DROP:g} worse {dict(worse.outcomes)}")
    for number, title in enumerate((f"an equal prompt, {ITEMS} items × {REPEATS}", f"a drop of {DROP:g}")):
        _print(title, {name: pair[number] for name, pair in worlds.items()}, console)
    promises = [one for world in WORLDS for one in _promises(world, *worlds[world.name])]
    print_promises("the gate, simulated", promises, console)
    return {
        "worlds": {name: {"equal": equal.figures(), "drop": worse.figures()} for name, (equal, worse) in worlds.items()}
    } | promise_figures(promises)


def simulate(
    world: World,
    drop: float,
    *,
    gates: int = GATES,
    seconds: float = 60.0,
    spec: GateSpec | None = None,
    seed: int = _SEED,
) -> Gates:
    """Gates of candidates whose true mean is ``drop`` lower, as many as fit into so many seconds."""
    policy = gate_policy(spec or GateSpec(), golden=ITEMS, live=0, compared=True)
    rng = np.random.default_rng(seed)
    found, until = Gates(), time.monotonic() + seconds
    for _ in range(gates):
        seen = evaluate(world, rng, items=ITEMS, repeats=REPEATS, drop=drop)
        found.outcomes[_decided(world, rng, seen, policy)] += 1
        found.unpaired += _unpaired_bound(seen, policy.alpha) > -policy.metrics[0].margin
        found.by_eye += float(seen.differences.mean()) > -policy.metrics[0].margin
        found.spreads.append(float(seen.differences.std(ddof=1)))
        found.changed.append(float(np.mean(np.abs(seen.differences) > 1e-9)))
        if time.monotonic() > until:
            break
    return found


def _decided(world: World, rng: np.random.Generator, seen: Evaluation, policy: GatePolicy) -> str:
    plan = plan_repeats(seen.items(), SCORE, MORE_REPEATS, Allowance())
    return decide_gate(seen.items(repeat(world, rng, seen, plan)), policy).outcome.value


def _unpaired_bound(seen: Evaluation, alpha: float) -> float:
    """Lower bound of the difference as if the versions had answered other items (Welch, normal at 200 items)."""
    now, before = seen.now.mean(axis=1), seen.before.mean(axis=1)
    error = (now.var(ddof=1) / now.size + before.var(ddof=1) / before.size) ** 0.5
    return float(now.mean() - before.mean() - norm.ppf(1 - alpha) * error)


def _promises(world: World, equal: Gates, worse: Gates) -> Sequence[Promise]:
    stopped = Rate(worse.count - worse.outcomes["pass"], worse.count)
    spread = f"{world.name} (spread {np.mean(equal.spreads):.2f}, {np.mean(equal.changed):.0%} changed)"

    def promise(what: str, asked: str, rate: Rate, held: bool) -> Promise:
        enough = rate.of >= GATES
        reached = str(rate) if enough else f"{rate} in only {rate.of} gates"
        return Promise(
            f"{spread}: {what}", asked if world.asked else "–", reached, held and enough if world.asked else None
        )

    return (
        promise(f"a drop of {DROP:g} is not passed", f"≥ {STOPPED:.0%}", stopped, stopped.share >= STOPPED),
        promise(
            "an equal one fails", f"≤ {FAILED_EQUAL:.0%}", equal.rate("fail"), equal.rate("fail").share <= FAILED_EQUAL
        ),
        promise(
            "an equal one passes", f"≥ {PASSED_EQUAL:.0%}", equal.rate("pass"), equal.rate("pass").share >= PASSED_EQUAL
        ),
    )


def _print(title: str, worlds: dict[str, Gates], console: Console) -> None:
    table = Table(title=f"{title}: how often it passes")
    for column in ("world", "spread", "changed", "gate: pass", "fail", "unpaired: pass", "means alone: pass"):
        table.add_column(column, justify="left" if column == "world" else "right")
    for name, one in worlds.items():
        rates = (one.rate("pass"), one.rate("fail"), Rate(one.unpaired, one.count), Rate(one.by_eye, one.count))
        table.add_row(name, f"{np.mean(one.spreads):.3f}", f"{np.mean(one.changed):.0%}", *map(str, rates))
    console.print(table)
