"""What a bandit earns over 2,500 requests, on the functions that set production's weights (see ``bandit_worlds``).

DESIGN's figures are of Thompson's rule at every request. Production has a floor of 5 % per arm, which costs what it
costs (of four arms the best gets 85 % at most), and moves its weights by batches: both are shown beside it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.bandit_worlds import REQUESTS, Floats, Played, World, by_weights, every_request, in_segments
from tests.bench.promises import Promise, print_promises, promise_figures

RUNS = 500
FLOOR = 0.05
BATCH = 50
_CHUNK = 100
_SEGMENT_RUNS = 25

FOUR = np.array([0.785, 0.82, 0.80, 0.85])
WORLDS = {
    "0.785 / 0.82 / 0.80 / 0.85": World(FOUR),
    "the same, graded scores (sd 0.2)": World(FOUR, sd=0.2),
    "two arms, gap 0.1": World(np.array([0.75, 0.85])),
    "four arms, gaps of 0.1": World(np.array([0.55, 0.65, 0.75, 0.85])),
    "0.1 ahead of three equal arms": World(np.array([0.75, 0.75, 0.75, 0.85])),
    "two arms, gap 0.2": World(np.array([0.65, 0.85])),
    "four arms, gaps of 0.2": World(np.array([0.25, 0.45, 0.65, 0.85])),
    "0.2 ahead of three equal arms": World(np.array([0.65, 0.65, 0.65, 0.85])),
}
ASKED = {
    "0.785 / 0.82 / 0.80 / 0.85": 0.68,
    "two arms, gap 0.1": 0.90,
    "four arms, gaps of 0.1": 0.90,
    "two arms, gap 0.2": 0.96,
    "four arms, gaps of 0.2": 0.96,
}
ASKED_REGRET = 40.0
_TURNED = World(np.where(np.arange(REQUESTS)[:, None] < REQUESTS // 2, FOUR, FOUR[::-1]))
"""Halfway, the arms change places."""
_ALIKE = np.array([[0.75, 0.85], [0.75, 0.85], [0.75, 0.85], [0.75, 0.85]])
_OPPOSED = np.array([[0.75, 0.85], [0.85, 0.75], [0.75, 0.85], [0.85, 0.75]])


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long it may take; it ends when each case has had ``RUNS`` runs."""
    cases = 3 * len(WORLDS) + 2 + 4
    each = seconds / cases
    figures: dict[str, Any] = {}
    promises: list[Promise] = []
    table = Table(title=f"Thompson over {REQUESTS:,} requests: best arm's share, regret in % of an equal split's")
    for column in ("arms", "each request, no floor", f"batches of {BATCH}, no floor", f"batches of {BATCH}, floor 5 %"):
        table.add_column(column)
    for name, world in WORLDS.items():
        rule = _repeated(lambda runs, seed, world=world: every_request(world, runs, seed), each)
        batched, floored = (
            _repeated(
                lambda runs, seed, world=world, floor=floor: by_weights(world, runs, seed, batch=BATCH, floor=floor),
                each,
            )
            for floor in (0.0, FLOOR)
        )
        table.add_row(name, *map(_shown, (rule, batched, floored)))
        figures[name] = {"rule": _figures(rule), "batched": _figures(batched), "with_floor": _figures(floored)}
        promises += _promises(name, world, rule, floored)
    console.print(table)
    figures["change"] = _change(each, console)
    figures["segments"] = _segments(each, console)
    print_promises("bandits", promises, console)
    return {**figures, **promise_figures(promises)}


def _promises(name: str, world: World, rule: Played, floored: Played) -> list[Promise]:
    """Held where the interval of the mean reaches what was asked."""
    if name not in ASKED:
        return []
    asked, share, regret = ASKED[name], rule.share, rule.regret
    found = [Promise(f"{name}: share", f"≥ {asked:.0%}", _percent(share), _mean(share)[2] >= asked)]
    if world is WORLDS["0.785 / 0.82 / 0.80 / 0.85"]:
        found.append(
            Promise(f"{name}: regret", f"≤ {ASKED_REGRET:.0f} %", _interval(regret), _mean(regret)[1] <= ASKED_REGRET)
        )
    most = 1.0 - FLOOR * (world.arms - 1)
    told = f"{_percent(floored.share)}, of {most:.0%} that the floor leaves; regret {_interval(floored.regret)}"
    found.append(Promise(f"{name}: share in production", "floor 5 %", told))
    return found


def _change(each: float, console: Console) -> dict[str, Any]:
    table = Table(title="the arms change places halfway, floor 5 %: regret in % of an equal split's")
    table.add_column("discount")
    table.add_column("regret")
    found: dict[str, Any] = {}
    for discount in (1.0, 0.995):
        played = _repeated(
            lambda runs, seed, discount=discount: by_weights(
                _TURNED, runs, seed, batch=BATCH, floor=FLOOR, discount=discount
            ),
            each,
        )
        table.add_row(f"{discount:g}", _interval(played.regret))
        found[f"{discount:g}"] = _figures(played)
    console.print(table)
    return found


def _segments(each: float, console: Console) -> dict[str, Any]:
    table = Table(title="four segments, arms 0.75 / 0.85, floor 5 %: regret in % of an equal split's")
    for column in ("segments", "contextual", "one bandit for all"):
        table.add_column(column)
    found: dict[str, Any] = {}
    for name, means in (("alike", _ALIKE), ("opposed", _OPPOSED)):
        regrets = [
            _chunks(
                lambda runs, seed, means=means, contextual=contextual: in_segments(
                    means, runs, seed, batch=BATCH, floor=FLOOR, contextual=contextual
                ),
                each,
                _SEGMENT_RUNS,
                RUNS // 2,
            )
            for contextual in (True, False)
        ]
        joined = [np.concatenate(parts) for parts in regrets]
        table.add_row(name, *map(_interval, joined))
        found[name] = {"contextual": _mean(joined[0]), "one_for_all": _mean(joined[1]), "runs": joined[0].size}
    console.print(table)
    return found


def _repeated(play: Callable[[int, int], Played], each: float) -> Played:
    parts: Sequence[Played] = _chunks(play, each, _CHUNK, RUNS)
    return Played(np.concatenate([one.share for one in parts]), np.concatenate([one.regret for one in parts]))


def _chunks(play: Callable[[int, int], Any], each: float, size: int, runs: int) -> list[Any]:
    """Chunks of runs until there are enough, or the time is up; at least one."""
    deadline = time.monotonic() + each
    found = [play(size, 0)]
    while len(found) * size < runs and time.monotonic() < deadline:
        found.append(play(size, len(found)))
    return found


def _mean(values: Floats) -> tuple[float, float, float]:
    """With its 95 % interval."""
    spread = 1.96 * float(values.std(ddof=1)) / values.size**0.5
    return float(values.mean()), float(values.mean()) - spread, float(values.mean()) + spread


def _percent(values: Floats) -> str:
    mean, low, high = _mean(values)
    return f"{mean:.1%} ({low:.1%} – {high:.1%})"


def _interval(values: Floats) -> str:
    mean, low, high = _mean(values)
    return f"{mean:.1f} % ({low:.1f} – {high:.1f})"


def _shown(played: Played) -> str:
    share, regret = _mean(played.share), _mean(played.regret)
    return f"{share[0]:.1%} ± {100 * (share[2] - share[0]):.1f}, regret {regret[0]:.1f} % ± {regret[2] - regret[0]:.1f}"


def _figures(played: Played) -> dict[str, Any]:
    return {"share": _mean(played.share), "regret_percent": _mean(played.regret), "runs": played.share.size}
