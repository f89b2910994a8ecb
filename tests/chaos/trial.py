"""The trial: steady load, one fault after the other, and a verdict over everything that callers and ledger saw.

What must hold: no wrong answer, and none older than the last acknowledged document; errors only where a fault excuses
them; recovery within ``RECOVERY`` seconds of a fault's end; every answered call in the ledger, once, as it was given.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from tests.bench.stage import Stage
from tests.chaos.faults import FIRST, Fault
from tests.chaos.outcomes import Kind, Outcome
from tests.chaos.questions import Question, Tenant
from tests.chaos.steady_load import SteadyLoad

RECOVERY = 5.0
_IN_A_ROW = 20
_FIRST_CHOICE_WITHIN = 15.0
_LEDGER_WITHIN = 60.0
_SHOWN = 5


@dataclass
class Phase:
    """One fault's time, on the event loop's clock, and what came of it. ``recovery``: seconds, None if it took too
    long."""

    fault: Fault
    begun: float = 0.0
    ended: float = 0.0
    recovery: float | None = None
    first_choice: float | None = None
    """Seconds from its end until the first provider answers again: its breaker must have half-opened."""
    seen: Counter[str] = field(default_factory=Counter)


@dataclass
class Verdict:
    """``violations`` is empty if all held."""

    phases: list[Phase]
    calls: int
    answered: int
    recorded: int
    violations: list[str]


async def trial(
    here: Stage,
    url: str,
    tenants: Sequence[Tenant],
    faults: Sequence[Fault],
    *,
    seconds: float,
    callers: int = 12,
    pause: float = 0.1,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """``seconds``: how long each fault lasts. Raises AssertionError when the load cannot begin."""
    load = SteadyLoad(url, tenants, callers=callers, pause=pause, seed=seed)
    phases = [Phase(fault) for fault in faults]
    async with load.running():
        await _recovered(load, asyncio.get_running_loop().time())
        for phase in phases:
            tell(f"chaos: {phase.fault.name}")
            await _play(load, phase, seconds)
            await _first_choice_again(load, phase)
    rows = await asyncio.to_thread(_ledger, here)
    return _judge(load.outcomes, phases, {tenant.name: tenant for tenant in tenants}, rows)


async def _play(load: SteadyLoad, phase: Phase, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    broken = phase.fault.broken()
    phase.begun = loop.time()
    await asyncio.to_thread(broken.__enter__)
    try:
        await asyncio.sleep(max(seconds, phase.fault.at_least))
    finally:
        await asyncio.to_thread(broken.__exit__, None, None, None)
    phase.ended = loop.time()
    phase.recovery = await _recovered(load, phase.ended)


async def _recovered(load: SteadyLoad, since: float) -> float | None:
    """Seconds until calls that began since then are answered in a row, and a document is accepted; None: too late."""
    loop = asyncio.get_running_loop()
    while (now := loop.time()) < since + RECOVERY:
        later = [outcome for outcome in load.outcomes if outcome.begun >= since][-_IN_A_ROW:]
        good = len(later) == _IN_A_ROW and all(outcome.kind is Kind.ANSWERED for outcome in later)
        if good and load.acknowledged_at > since:
            return now - since
        await asyncio.sleep(0.02)
    return None


async def _first_choice_again(load: SteadyLoad, phase: Phase) -> None:
    loop = asyncio.get_running_loop()
    looked = 0
    while (now := loop.time()) < phase.ended + _FIRST_CHOICE_WITHIN:
        for outcome in load.outcomes[looked:]:
            if outcome.begun >= phase.ended and outcome.provider == FIRST and outcome.layer == "none":
                phase.first_choice = now - phase.ended
                return
        looked = len(load.outcomes)
        await asyncio.sleep(0.02)


def _ledger(here: Stage) -> list[CallRow]:
    """Every row, once the ledger-writer has nothing left to do."""
    deadline = time.monotonic() + _LEDGER_WITHIN
    while here.undelivered() and time.monotonic() < deadline:
        time.sleep(0.1)
    with reading(here.engine) as session:
        return list(session.scalars(select(CallRow)))


def _judge(
    outcomes: Sequence[Outcome], phases: list[Phase], tenants: dict[str, Tenant], rows: Sequence[CallRow]
) -> Verdict:
    violations: list[str] = []
    for phase in phases:
        if phase.recovery is None:
            violations.append(f"{phase.fault.name}: not recovered within {RECOVERY:g} s")
        if phase.first_choice is None:
            violations.append(f"{phase.fault.name}: {FIRST} is not asked again within {_FIRST_CHOICE_WITHIN:g} s")
        if not any(_touches(phase, outcome) and phase.fault.shows(outcome) for outcome in outcomes):
            violations.append(f"{phase.fault.name}: it shows nowhere, so nothing was tried")
    for outcome in outcomes:
        touched = [one for one in phases if _touches(one, outcome)]  # a slow one may see the end of one and the next
        name = " and ".join(one.fault.name for one in touched) or "calm"
        for phase in touched:
            phase.seen[outcome.kind.value] += 1
        if outcome.kind is Kind.ANSWERED:
            wrong = tenants[outcome.question.tenant].wrong(outcome.question, outcome.text)
            if wrong:
                violations.append(f"{name}: wrong answer ({outcome.layer}, call {outcome.call_id}): {wrong}")
        elif not any(one.fault.allows(outcome) for one in touched):
            took = outcome.ended - outcome.begun
            violations.append(
                f"{name}: {outcome.kind.value} {outcome.detail} (prompt {outcome.question.prompt}, "
                f"{'stream' if outcome.streamed else 'whole'}, after {took:.2f} s, call {outcome.call_id})"
            )
    violations += _book(outcomes, rows)
    answered = sum(outcome.kind is Kind.ANSWERED for outcome in outcomes)
    return Verdict(phases, len(outcomes), answered, len(rows), violations)


def _touches(phase: Phase, outcome: Outcome) -> bool:
    """Whether the call was under way while the fault, or the recovery from it, was."""
    over = phase.ended + (RECOVERY if phase.recovery is None else phase.recovery)
    return outcome.begun < over and outcome.ended > phase.begun


def _book(outcomes: Sequence[Outcome], rows: Sequence[CallRow]) -> list[str]:
    """What the ledger gets wrong."""
    violations: list[str] = []
    by_id = {row.id: row for row in rows}
    asked: Counter[str] = Counter()
    for outcome in outcomes:
        asked[_mark(outcome.question)] += 1
        row = by_id.get(outcome.call_id)
        if outcome.kind is Kind.ANSWERED:
            if row is None:
                violations.append(f"ledger: the answered call {outcome.call_id} is missing")
            elif (row.status, row.answer, row.tenant) != ("ok", outcome.text, outcome.question.tenant):
                violations.append(f"ledger: {row.id} says {row.status} {row.answer!r}, given was {outcome.text!r}")
        elif outcome.kind is Kind.CUT and (row is None or row.status != "failed"):
            violations.append(f"ledger: the cut stream {outcome.call_id} is {row.status if row else 'missing'}")
    booked = Counter(f"{row.tenant} {row.prompt} {sorted((row.variables or {}).items())}" for row in rows)
    twice = {mark: count for mark, count in booked.items() if count > asked[mark]}
    violations += [f"ledger: {count} calls where {asked[mark]} were made: {mark}" for mark, count in twice.items()]
    return violations


def _mark(question: Question) -> str:
    return f"{question.tenant} {question.prompt} {sorted(question.variables.items())}"


def summary(violations: Sequence[str]) -> str:
    """The first few, and how many there are."""
    more = len(violations) - _SHOWN
    return "\n".join([*violations[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])])
