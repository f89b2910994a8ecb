"""Simulated scopes: how often one serves that must not, how long it takes one that may, how soon a worse one goes."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.statistics.semantic_bound import ProofPair, prove

SCOPES = 500
JUST_ABOVE = 1.03
"""Times ``max_wrong``: the share of wrong hits of the scopes that must not serve."""
TARGET = 0.05

_PAIRS = 1_500
_SEED = 500
_RATES = (0.0, 0.005, 0.01, 0.015)
_WORSE = (2.0, 4.0, 10.0)
_TRIALS = 60


def simulated_scopes(max_wrong: float, console: Console) -> dict[str, Any]:
    """Each scope is looked at after every pair."""
    entropy = np.random.default_rng(_SEED)

    def proofs(rates: np.ndarray, count: int) -> list[Any]:
        wrong = entropy.random((count, rates.size)) < rates
        return [prove([ProofPair(bool(one)) for one in row], max_wrong=max_wrong) for row in wrong]

    above = proofs(np.full(_PAIRS, max_wrong * JUST_ABOVE), SCOPES)
    ever = sum(one.served_from is not None for one in above) / SCOPES
    console.print(
        f"{SCOPES} simulated scopes, {max_wrong * JUST_ABOVE:.2%} of their hits wrong, {_PAIRS:,} judged pairs each: "
        f"{ever:.1%} ever serve (target ≤ {TARGET:.0%})"
    )
    table = Table(title=f"judged pairs until a scope serves at max_wrong {max_wrong:.0%} ({_TRIALS} scopes each)")
    for column in ("wrong hits", "median", "90 %", f"served within {_PAIRS:,}"):
        table.add_column(column, justify="right")
    needed: dict[str, Any] = {}
    for rate in _RATES:
        served = [one.served_from or np.inf for one in proofs(np.full(_PAIRS, rate), _TRIALS)]
        middle, late = (float(np.quantile(served, at, method="higher")) for at in (0.5, 0.9))
        within = float(np.mean(np.isfinite(served)))
        table.add_row(f"{rate:.1%}", f"{middle:,.0f}", f"{late:,.0f}", f"{within:.0%}")
        needed[f"{rate:.3f}"] = {"median": middle, "p90": late, "within": within}
    console.print(table)
    return {"ever_serves": ever, "needed": needed, "demotion": _demotion(max_wrong, entropy, console)}


def _demotion(max_wrong: float, entropy: np.random.Generator, console: Console) -> dict[str, Any]:
    """A scope that was right 500 times, and then became worse: judged pairs until it is demoted."""
    table = Table(title="judged pairs until a scope that serves, and became worse, is demoted")
    for column in ("wrong hits", "median", "90 %"):
        table.add_column(column, justify="right")
    figures: dict[str, Any] = {}
    good = [ProofPair(False)] * 500
    for times in _WORSE:
        rate = max_wrong * times
        later = entropy.random((_TRIALS, _PAIRS)) < rate
        found = [prove([*good, *(ProofPair(bool(one)) for one in row)], max_wrong=max_wrong) for row in later]
        after = [np.inf if one.demoted_from is None else one.demoted_from - len(good) for one in found]
        middle, late = (float(np.quantile(after, at, method="higher")) for at in (0.5, 0.9))
        table.add_row(f"{rate:.0%}", f"{middle:,.0f}", f"{late:,.0f}")
        figures[f"{rate:.3f}"] = {"median": middle, "p90": late}
    console.print(table)
    return figures
