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
from tests.bench.release_stand import ReleaseStand, release_stand
from tests.bench.release_trials import (
    ALL_DOWN,
    FAILS,
    IS_DOWN,
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
    for line in violations:
        console.print(f"[red]{line}")
    return {"trials": [_plain(one) for one in results], "violations": violations}


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
