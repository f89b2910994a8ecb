"""How fast a rollback is everywhere: gateways under load, one command after the other, every answer looked at.

Every second rollback closes a canary, the others take production back. All callers are users who see the version that
goes. What must hold: the command has returned, every gateway verified, within a second (p99); of the calls admitted
after it returned none is answered by the old table. When a call was admitted is read from its id.

Two more: a gateway that was killed must not be waited for longer than its heartbeat lives, and one that was stopped
for longer than that must not serve by the old table when it goes on.
"""

import asyncio
import contextlib
import math
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.releases.publishing import SLACK, Publication
from tests.bench.load import quantile
from tests.bench.release_stand import QUICK, ReleaseStand, release_stand
from tests.bench.rollback_load import NEW, OLD, PROMPT, SALT, WEIGHT, Load, Told

GATEWAYS = 4
ROUNDS = 100
MOST_SECONDS = 1.0
_RECENT = 200


@dataclass(frozen=True)
class Round:
    """One rollback. Times in seconds of ``time.time``; ``reached``: from the command to the first call of each gateway
    that was admitted under the new table."""

    name: str
    began: float
    returned: float
    publication: Publication
    reached: dict[int, float]
    old_afterwards: int
    asked_afterwards: int

    @property
    def took(self) -> float:
        return self.returned - self.began


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: how long users ask before and after each command."""
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="promptyard-bench-")))
        stand = closing.enter_context(release_stand(folder, gateways=GATEWAYS, ahead=0.0))
        prepare(stand)
        rounds, calls = asyncio.run(rollbacks(stand, ROUNDS, seconds))
        troubled = [asyncio.run(with_one_stopped(stand)), asyncio.run(with_one_killed(stand))]
    violations = violations_of(rounds, stand) + troubled_violations(troubled, stand)
    _print(rounds, troubled, calls, console)
    for line in violations:
        console.print(f"[red]{line}")
    return {
        "calls": calls,
        "load": os.getloadavg()[0],
        **figures(rounds),
        "troubled": [_plain(one) for one in troubled],
        "violations": violations,
    }


def prepare(stand: ReleaseStand) -> None:
    """``OLD`` serves, ``NEW`` is registered; what is asked is in the cache, so that calls are quick."""
    stand.release(stand.spec(PROMPT, OLD))
    stand.register(_candidate(stand))


def _candidate(stand: ReleaseStand) -> Any:
    return stand.spec(PROMPT, NEW, story=NEW, canary={**QUICK, "steps": [WEIGHT], "evidence_share": 0.0})


async def rollbacks(stand: ReleaseStand, rounds: int, pause: float) -> tuple[list[Round], int]:
    """So many rollbacks under load, and how many calls were answered meanwhile."""
    found: list[Round] = []
    async with Load(stand.gateways, stand.key).asking() as load:
        for number in range(rounds):
            closes_canary = number % 2 == 0
            await _brought_in(stand, load, canary=closes_canary)
            await asyncio.sleep(pause)
            name = "closes a canary" if closes_canary else "takes production back"
            found.append(await _measured(stand, load, name, pause))
        answered = len(load.told)
    assert not load.errors, f"{load.errors} calls failed"
    return found, answered


async def _brought_in(stand: ReleaseStand, load: Load, *, canary: bool) -> None:
    """Returns when every gateway has answered by ``NEW``."""
    before = time.time()
    await asyncio.to_thread(_bring_in, stand, canary)
    everyone = set(range(len(stand.gateways)))
    await _until(lambda: _gateways(load, lambda one: one.admitted > before and one.version == NEW) == everyone)


def _bring_in(stand: ReleaseStand, canary: bool) -> None:
    if canary:
        stand.release(_candidate(stand), salt=SALT)
    else:
        assert stand.roll_back(PROMPT, to=NEW).verified


async def _measured(
    stand: ReleaseStand,
    load: Load,
    name: str,
    pause: float,
    meanwhile: Callable[[], None] = lambda: None,
    gone: int = -1,
) -> Round:
    """Roll back to ``OLD``. ``meanwhile`` is called once that has returned; ``gone`` is a gateway that does not run."""
    alive = set(range(len(stand.gateways))) - {gone}
    began = time.time()
    publication = await asyncio.to_thread(stand.roll_back, PROMPT, to=OLD)
    returned = time.time()
    meanwhile()
    await asyncio.sleep(pause)  # users ask on
    await _until(lambda: _gateways(load, lambda one: one.admitted > returned) >= alive)
    told = [one for one in load.told if one.admitted > began]
    late = [one for one in told if one.admitted > returned]
    return Round(
        name=name,
        began=began,
        returned=returned,
        publication=publication,
        reached={gateway: _reached(told, gateway) - began for gateway in alive},
        old_afterwards=sum(one.version != OLD for one in late),
        asked_afterwards=len(late),
    )


def _reached(told: Sequence[Told], gateway: int) -> float:
    """When the first call after the last one by the old table was admitted."""
    mine = [one for one in told if one.gateway == gateway]
    last_old = max((one.admitted for one in mine if one.version != OLD), default=0.0)
    return min((one.admitted for one in mine if one.version == OLD and one.admitted > last_old), default=math.inf)


def _gateways(load: Load, fits: Callable[[Told], bool]) -> set[int]:
    return {one.gateway for one in load.told[-_RECENT:] if fits(one)}


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 (it looks at what other processes did)
            await asyncio.sleep(0.005)


async def with_one_stopped(stand: ReleaseStand) -> Round:
    """A gateway stops for longer than its heartbeat lives, misses the rollback, and goes on with calls that waited."""
    program = stand.here.programs["gateway 1"]
    async with Load(stand.gateways, stand.key).asking() as load:
        await _brought_in(stand, load, canary=False)
        program.signal(signal.SIGSTOP)
        await asyncio.sleep(stand.here.settings.heartbeat_ttl + SLACK)
        return await _measured(
            stand, load, "one gateway stopped", 0.5, meanwhile=partial(program.signal, signal.SIGCONT)
        )


async def with_one_killed(stand: ReleaseStand) -> Round:
    """A gateway has just died: its heartbeat is still there."""
    async with Load(stand.gateways, stand.key).asking() as load:
        await _brought_in(stand, load, canary=False)
        stand.here.programs["gateway 1"].kill()
        return await _measured(stand, load, "one gateway killed", 0.5, gone=0)


def figures(rounds: Sequence[Round]) -> dict[str, float]:
    """Quantiles in seconds, and sums."""
    took = [one.took for one in rounds]
    reached = [value for one in rounds for value in one.reached.values()]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return (
        {f"returned_{name}": round(quantile(took, share), 4) for name, share in shares.items()}
        | {f"reached_{name}": round(quantile(reached, share), 4) for name, share in shares.items()}
        | {"rollbacks": len(rounds), "asked_afterwards": sum(one.asked_afterwards for one in rounds)}
        | {"old_afterwards": sum(one.old_afterwards for one in rounds)}
    )


def violations_of(rounds: Sequence[Round], stand: ReleaseStand) -> list[str]:
    """What did not hold of the rollbacks with every gateway up."""
    seen = figures(rounds)
    found = [f"{name} is {seen[name]:.2f} s" for name in ("returned_p99", "reached_p99") if seen[name] > MOST_SECONDS]
    if seen["old_afterwards"]:
        found.append(f"{seen['old_afterwards']} calls were answered by the old table after the command had returned")
    if unsure := [one for one in rounds if not one.publication.verified or one.publication.live != len(stand.gateways)]:
        found.append(f"{len(unsure)} rollbacks were not verified by every gateway: {unsure[0].publication}")
    return found


def troubled_violations(rounds: Sequence[Round], stand: ReleaseStand) -> list[str]:
    found = []
    for one in rounds:
        if one.old_afterwards:
            found.append(f"{one.name}: {one.old_afterwards} calls were answered by the old table afterwards")
        if not one.publication.verified:
            found.append(f"{one.name}: not verified: {one.publication}")
        if one.took > stand.here.settings.heartbeat_ttl + SLACK + MOST_SECONDS:
            found.append(f"{one.name}: the command took {one.took:.2f} s")
    return found


def _plain(one: Round) -> dict[str, Any]:
    return {
        "name": one.name,
        "seconds": round(one.took, 3),
        "asked_afterwards": one.asked_afterwards,
        "old_afterwards": one.old_afterwards,
    }


def _print(rounds: Sequence[Round], troubled: Sequence[Round], calls: int, console: Console) -> None:
    load, cores = os.getloadavg()[0], os.cpu_count()
    meanwhile = f"{calls} calls meanwhile; the machine's load is {load:.0f} on {cores} cores"
    table = Table(title=f"Rollbacks over {GATEWAYS} gateways; {meanwhile}")
    columns = ("", "rollbacks", "returned p50", "p99", "max (s)", "reached p50", "p99", "max (s)", "asked after", "old")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    groups = {name: [one for one in rounds if one.name == name] for name in sorted({one.name for one in rounds})}
    for name, some in {**groups, "all": list(rounds), **{one.name: [one] for one in troubled}}.items():
        seen = figures(some)
        times = [f"{seen[f'{what}_{q}']:.3f}" for what in ("returned", "reached") for q in ("p50", "p99", "max")]
        table.add_row(name, str(len(some)), *times, str(seen["asked_afterwards"]), str(seen["old_afterwards"]))
    console.print(table)
