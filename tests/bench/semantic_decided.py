"""A scope as it is decided on in production: a share of its pairs is judged, and every so often all are looked at."""

import random
from typing import Any

import numpy as np
from rich.console import Console

from gateway.types import SemanticPolicy
from tasks.semantic_decision import Pair, Standing, State, decide
from tests.bench.semantic_data import Questions
from tests.bench.semantic_serving import Method, Served, choose, serve
from tests.bench.semantic_tables import add_served, figures_of, served_table

EVERY = 250
"""Questions between two looks."""
_SEED = 25


def decided(
    stream: Questions, test: Questions, method: Method, max_wrong: float, precision: float, console: Console
) -> dict[str, Any]:
    """Judged shares: all, and the one that a prompt has by default. What follows serving is not simulated."""
    title = f"the same, decided on every {EVERY} questions from an empty cache on"
    table = served_table(title, "threshold", "attempt", "serves after", "judged by then", "wrong of those that prove")
    figures: dict[str, Any] = {}
    choices = choose(stream, stream, method, known=np.arange(len(stream)))
    tested = choose(test, stream, method)
    for share in (1.0, SemanticPolicy().judged_share):
        entropy = random.Random(_SEED)
        standing, pairs, asked = Standing(), list[Pair](), 0
        for asked, one in enumerate(choices, 1):
            if one is not None and entropy.random() < share:
                pairs.append(Pair(one.value, one.right, share, asked, asked))
            if asked % EVERY == 0:
                standing = decide(standing, pairs, max_wrong=max_wrong, precision=precision, now=asked + 0.5)
                if standing.state is State.SERVING:
                    break
        name = f"{share:.0%} of the pairs judged"
        if standing.state is not State.SERVING or standing.threshold is None:
            table.add_row(name, f"not in {asked:,} questions: {standing.state}")
            figures[name] = {"threshold": None, "state": str(standing.state)}
            continue
        served: Served = serve(tested, standing.threshold)
        proof = f"{standing.wrong} of {standing.pairs}"
        columns = (f"{standing.threshold:.3f}", str(standing.attempt), f"{asked:,} questions", f"{len(pairs):,}", proof)
        add_served(table, name, served, *columns)
        figures[name] = figures_of(served) | {"threshold": standing.threshold, "after": asked, "judged": len(pairs)}
    console.print(table)
    return figures
