"""Simulated evaluations: how good each item's answers are under both versions, and what a repeat of one scores.

The version in production has a mean score of 0.9, far enough from the floor of 0.8 that the floor decides nothing. A
drop is exact in the mean over all items that could be drawn; no score is clipped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.gate_items import ItemResult
from tasks.statistics.repeats import RepeatPlan

MEAN = 0.9
SCORE = "score"

Floats = NDArray[np.float64]
Qualities = Callable[[np.random.Generator, int, float], tuple[Floats, Floats]]
"""(entropy, items, drop) → the mean score of each item before and now, shape (items,)."""
Scoring = Callable[[np.random.Generator, Floats, int], Floats]
"""(entropy, means, repeats) → scores in [0, 1], shape (items, repeats)."""


@dataclass(frozen=True)
class World:
    """``asked``: whether the promise is made for it, or it only shows where the gate ends."""

    name: str
    qualities: Qualities
    scoring: Scoring
    asked: bool = True


@dataclass(frozen=True)
class Evaluation:
    """Planned repeats of both versions, shape (items, repeats), and the means that they were drawn from."""

    before: Floats
    now: Floats
    mean_before: Floats
    mean_now: Floats

    @property
    def differences(self) -> Floats:
        """By item, over repeats."""
        changes: Floats = self.now.mean(axis=1) - self.before.mean(axis=1)
        return changes

    def items(self, again: Mapping[int, tuple[Floats, Floats]] | None = None) -> list[ItemResult]:
        """What the gate decides on; ``again``: added repeats (before, now) by item."""
        more = again or {}
        return [
            ItemResult(
                id=str(number),
                candidate={SCORE: now},
                baseline={SCORE: before},
                more_candidate={SCORE: more[number][1].tolist()} if number in more else {},
                more_baseline={SCORE: more[number][0].tolist()} if number in more else {},
            )
            for number, (before, now) in enumerate(zip(self.before.tolist(), self.now.tolist(), strict=True))
        ]


def evaluate(world: World, rng: np.random.Generator, *, items: int, repeats: int, drop: float) -> Evaluation:
    """Both versions on the same items."""
    before, now = world.qualities(rng, items, drop)
    return Evaluation(world.scoring(rng, before, repeats), world.scoring(rng, now, repeats), before, now)


def repeat(
    world: World, rng: np.random.Generator, seen: Evaluation, plan: RepeatPlan
) -> dict[int, tuple[Floats, Floats]]:
    """Added repeats of the planned items, under both versions."""
    chosen = np.array([int(name) for name in plan.items], dtype=np.int64)
    before = world.scoring(rng, seen.mean_before[chosen], plan.times)
    now = world.scoring(rng, seen.mean_now[chosen], plan.times)
    return {int(number): (before[at], now[at]) for at, number in enumerate(chosen)}


def graded(rng: np.random.Generator, means: Floats, repeats: int) -> Floats:
    """1–5 of a judge as 0, ¼, … 1: a binomial of four has the mean exactly, and a spread of 0.15 at 0.9."""
    scores: Floats = rng.binomial(4, means[:, None], (means.size, repeats)) / 4
    return scores


def binary(rng: np.random.Generator, means: Floats, repeats: int) -> Floats:
    """Right or wrong, each repeat anew."""
    scores: Floats = (rng.random((means.size, repeats)) < means[:, None]).astype(np.float64)
    return scores


def reworded(spread: float, concentration: float, *, broken: bool = False) -> Qualities:
    """Items of uneven difficulty (Beta); each answers a little differently now, up to ``spread`` of the room it has.

    The drop is on all items alike, or, ``broken``, on a few that score 0 now.
    """

    def qualities(rng: np.random.Generator, items: int, drop: float) -> tuple[Floats, Floats]:
        before = rng.beta(MEAN * concentration, (1 - MEAN) * concentration, items)
        lost = rng.random(items) < drop / MEAN if broken else np.zeros(items, dtype=bool)
        now = np.where(lost, 0.0, before) if broken else before * (1 - drop / MEAN)
        return before, now + rng.uniform(-spread, spread, items) * np.minimum(now, 1 - now)

    return qualities


def some_flaky(rng: np.random.Generator, items: int, drop: float) -> tuple[Floats, Floats]:
    """Three quarters of the items are always right; the others are right 6 times out of 10, unevenly."""
    before = np.where(rng.random(items) < 0.25, rng.beta(3, 2, items), 1.0)
    return before, before * (1 - drop / MEAN)


def all_flaky(rng: np.random.Generator, items: int, drop: float) -> tuple[Floats, Floats]:
    """Every item is right 9 times out of 10."""
    before = np.full(items, MEAN)
    return before, before - drop


def flips(share: float) -> Qualities:
    """Temperature 0: an item is right or wrong, repeats agree; ``share`` of the items change sides without a drop."""

    def qualities(rng: np.random.Generator, items: int, drop: float) -> tuple[Floats, Floats]:
        before = rng.random(items) < MEAN
        falls = rng.random(items) < (share / 2 + drop) / MEAN
        rises = rng.random(items) < (share / 2) / (1 - MEAN)
        return before.astype(np.float64), np.where(before, ~falls, rises).astype(np.float64)

    return qualities


WORLDS = (
    World("judged 1–5, even items, lightly reworded", reworded(0.25, 20.0), graded),
    World("judged 1–5, uneven items, wholly reworded", reworded(1.0, 5.0), graded),
    World("judged 1–5, the drop is in a few items that break", reworded(0.25, 20.0, broken=True), graded),
    World("right or wrong, a quarter of the items flaky", some_flaky, binary),
    World("right or wrong, every item flaky", all_flaky, binary),
    World("right or wrong, repeats agree, 4 % flip", flips(0.04), binary),
    World("right or wrong, repeats agree, 6 % flip", flips(0.06), binary, asked=False),
    World("right or wrong, repeats agree, 12 % flip", flips(0.12), binary, asked=False),
)
