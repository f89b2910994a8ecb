"""Releases through HTTP: the same prompt again, a harmful one, a good one, and providers that go down meanwhile.

Of the same prompt under a new number at most three of twenty may be rolled back. A version of which a fifth of the
calls fail is rolled back before 120 users have seen it. A good one is promoted. An outage neither promotes nor blames.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.settings import ChainSettings
from tasks.releases.stages import Stage
from tests.bench.promises import Promise, print_promises
from tests.bench.release_stand import ReleaseStand, release_stand
from tests.bench.release_trials import (
    ALL_DOWN,
    FAILS,
    IS_DOWN,
    MOST_CANARY_USERS,
    OPENAI_DOWN,
    UNREACHABLE,
    VARIES,
    Kind,
    Result,
    Trials,
    good,
    harmful,
    same,
    under_outage,
)

SAME, HARMFUL, GOOD = 20, 5, 3
MOST_FALSE_ALARMS = 3
MOST_WAVES = 16
_WIDE = 52
_COUNTS = ("canary users", "stable users", "waves", "seconds")
BRISK = ChainSettings.model_validate({"breaker_cooldown": 1})
"""Providers that are back are asked again soon."""


def run(seconds: float, console: Console) -> dict[str, Any]:
    """``seconds``: the longest that users come; what is open by then is inconclusive."""
    until = time.monotonic() + seconds
    with (
        tempfile.TemporaryDirectory(prefix="promptyard-bench-") as folder,
        release_stand(Path(folder), chain=BRISK) as stand,
    ):
        results = compared(stand, until, console) + in_outages(stand, until, console)
    violations = violations_of(results)
    _print(results, console)
    promises = promises_of(results)
    print_promises("releases through HTTP", promises, console)
    for line in violations:
        console.print(f"[red]{line}")
    return {
        "trials": [_plain(one) for one in results],
        "promises": [asdict(one) for one in promises],
        "violations": violations,
    }


def compared(stand: ReleaseStand, until: float, console: Console) -> list[Result]:
    """The same prompt, harmful and good ones, and one whose own model cannot be reached, all beside each other."""
    trials = [same(n) for n in range(SAME)] + [harmful(n) for n in range(HARMFUL)] + [good(n) for n in range(GOOD)]
    lost = under_outage("own-model-down", model={"chain": [f"openai/{UNREACHABLE}"]})
    stand.faults(FAILS, VARIES, IS_DOWN)
    playing = Trials(stand, [*trials, lost], until=until, tell=console.print)
    playing.waves(MOST_WAVES)
    playing.close()
    stand.faults()
    return playing.results()


def in_outages(stand: ReleaseStand, until: float, console: Console) -> list[Result]:
    """The first provider down from the start; all of them; and all of them for a while in the middle."""
    first = Trials(stand, [under_outage("first-provider-down")], until=until, tell=console.print)
    stand.faults(OPENAI_DOWN)
    first.waves(3)
    first.close()
    stand.faults()
    passing = Trials(stand, [under_outage("outage-that-passes", Stage.PROMOTED)], until=until, tell=console.print)
    passing.waves(1)
    every = Trials(stand, [under_outage("every-provider-down")], until=until, tell=console.print)
    stand.faults(ALL_DOWN)
    every.waves(3)
    passing.waves(2)
    every.close()
    stand.faults()
    passing.waves(MOST_WAVES)
    passing.close()
    return first.results() + every.results() + passing.results()


def violations_of(results: Sequence[Result]) -> list[str]:
    """What did not hold, of each and of all."""
    found = [line for one in results for line in one.violations]
    alarms = sum(one.stage is Stage.ROLLED_BACK for one in results if one.trial.kind is Kind.SAME)
    if alarms > MOST_FALSE_ALARMS:
        found.append(f"{alarms} releases of the same prompt were rolled back")
    return found


def promises_of(results: Sequence[Result]) -> list[Promise]:
    """What was asked of each kind, with what was reached."""
    of = {kind: [one for one in results if one.trial.kind is kind] for kind in Kind}
    alarms = sum(one.stage is Stage.ROLLED_BACK for one in of[Kind.SAME])
    caught = [one for one in of[Kind.HARMFUL] if one.stage is Stage.ROLLED_BACK]
    most = max((one.canary_users for one in caught), default=0)
    good = sum(one.stage is Stage.PROMOTED for one in of[Kind.GOOD])
    meant = sum(one.stage in one.trial.may_end for one in of[Kind.OUTAGE])
    harmful, outages = len(of[Kind.HARMFUL]), len(of[Kind.OUTAGE])
    clean = sum(not one.violations for one in results)
    return [
        Promise(
            "the same prompt is rolled back",
            f"≤ {MOST_FALSE_ALARMS} of {len(of[Kind.SAME])}",
            str(alarms),
            alarms <= MOST_FALSE_ALARMS,
        ),
        Promise(
            "a version of which 20 % fail is rolled back",
            f"{harmful} of {harmful}, within {MOST_CANARY_USERS} canary users",
            f"{len(caught)}, within {most}",
            len(caught) == harmful and most <= MOST_CANARY_USERS,
        ),
        Promise("a good one is promoted", f"{len(of[Kind.GOOD])}", str(good), good == len(of[Kind.GOOD])),
        Promise("an outage neither promotes nor blames", f"{outages}", str(meant), meant == outages),
        Promise(
            "nobody changed arm back and forth; ledger, routes and answers agree",
            f"{len(results)} of {len(results)}",
            str(clean),
            clean == len(results),
        ),
    ]


def _plain(result: Result) -> dict[str, Any]:
    told = asdict(result)
    del told["trial"]
    return {"name": result.trial.name, "kind": result.trial.kind.value, **told}


def _short(why: str) -> str:
    return why if len(why) <= _WIDE else f"{why[: _WIDE - 3]}..."


def _print(results: Sequence[Result], console: Console) -> None:
    table = Table(title="Releases through HTTP")
    for column in ("release", "kind", "verdict", "canary users", "stable users", "waves", "seconds", "why"):
        table.add_column(
            column, justify="right" if column in ("canary users", "stable users", "waves", "seconds") else "left"
        )
    for one in results:
        why = one.reason.split(";")[0]
        counts = (str(one.canary_users), str(one.stable_users), str(one.waves), f"{one.seconds:.0f}")
        table.add_row(one.trial.name, one.trial.kind, one.stage, *counts, _short(why))
    console.print(table)
