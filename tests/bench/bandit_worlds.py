"""Simulated bandits on the functions that set production's weights: many runs at once, each with its own luck.

A run is ``REQUESTS`` requests, each of a new user with a score at once. ``every_request`` draws from the posteriors at
each (Thompson's rule itself); ``by_weights`` draws a batch at a time by the weights that an epoch has.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.statistics.thompson import (
    BASIS,
    PRIOR,
    allocate,
    allocate_by_segment,
    discounts,
    probability_of_best,
    with_floor,
)

REQUESTS = 2_500
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """True means by arm, of shape (arms,), or (requests, arms) where they change; ``sd`` None: yes or no."""

    means: Floats
    sd: float | None = None

    @property
    def arms(self) -> int:
        return int(self.means.shape[-1])

    def between(self, begin: int, end: int) -> Floats:
        """Shape (requests, arms)."""
        return np.broadcast_to(self.means, (REQUESTS, self.arms))[begin:end]


@dataclass(frozen=True)
class Played:
    """By run: share of requests that the best arm got, and regret in percent of an equal split's; shape (runs,)."""

    share: Floats
    regret: Floats


def every_request(world: World, runs: int, seed: int) -> Played:
    """A draw from the posterior at each request, no floor."""
    rng = np.random.default_rng(seed)
    book = _Book(world, runs)
    for request in range(REQUESTS):
        alpha, beta = PRIOR + book.counts[..., 0], PRIOR + book.counts[..., 1]
        book.take(request, rng.beta(alpha, beta).argmax(axis=1)[:, None], rng)
    return book.played()


def by_weights(world: World, runs: int, seed: int, *, batch: int, floor: float, discount: float = 1.0) -> Played:
    """A batch of requests by one epoch's weights, then other weights. ``floor`` 0: none."""
    rng = np.random.default_rng(seed)
    book = _Book(world, runs, discount)
    for begin in range(0, REQUESTS, batch):
        shares = probability_of_best(PRIOR + book.counts[..., 0], PRIOR + book.counts[..., 1])
        steps = np.cumsum(with_floor(shares, floor), axis=1)[:, None, :]
        drawn = rng.random((runs, min(batch, REQUESTS - begin), 1))
        book.take(begin, np.minimum((drawn > steps).sum(axis=2), world.arms - 1), rng)
    return book.played()


def in_segments(means: Floats, runs: int, seed: int, *, batch: int, floor: float, contextual: bool) -> Floats:
    """Regret in percent of an equal split's, by run; ``means`` of shape (segments, arms), equally many users each."""
    rng = np.random.default_rng(seed)
    segments, arms = means.shape
    eligible = [True] * arms
    lost = np.zeros(runs)
    for run in range(runs):
        counts = np.zeros((segments, arms, 2))
        for _ in range(0, REQUESTS, batch):
            if contextual:
                allocations = allocate_by_segment(counts, eligible, floor)
            else:
                allocations = (allocate(counts.sum(axis=0), eligible, floor),) * segments
            weights = np.array([one.weights for one in allocations]) / BASIS
            where = rng.integers(0, segments, batch)
            steps = np.cumsum(weights[where], axis=1)
            drawn = np.minimum((rng.random((batch, 1)) > steps).sum(axis=1), arms - 1)
            won = rng.random(batch) < means[where, drawn]
            np.add.at(counts, (where, drawn, np.where(won, 0, 1)), 1.0)
            lost[run] += float((means.max(axis=1)[where] - means[where, drawn]).sum())
    uniform = REQUESTS * float((means.max(axis=1) - means.mean(axis=1)).mean())
    return 100.0 * lost / uniform


class _Book:
    """Successes and failures so far, shape (runs, arms, 2), and what following them was worth."""

    def __init__(self, world: World, runs: int, discount: float = 1.0) -> None:
        self._world, self._discount = world, discount
        self._best, self._lost = np.zeros(runs), np.zeros(runs)
        self._uniform = 0.0
        self.counts = np.zeros((runs, world.arms, 2))

    def take(self, begin: int, arms: NDArray[np.int_], rng: np.random.Generator) -> None:
        """Requests from ``begin`` on go to these arms, shape (runs, requests)."""
        requests = arms.shape[1]
        means = self._world.between(begin, begin + requests)
        true = means[np.arange(requests), arms]
        outcomes = _outcomes(rng, true, self._world.sd)
        ages = discounts(requests, self._discount)
        self.counts *= self._discount**requests
        for arm in range(self._world.arms):
            mine = (arms == arm) * ages
            self.counts[:, arm, 0] += (mine * outcomes).sum(axis=1)
            self.counts[:, arm, 1] += (mine * (1.0 - outcomes)).sum(axis=1)
        self._best += (arms == means.argmax(axis=1)).sum(axis=1)
        self._lost += (means.max(axis=1) - true).sum(axis=1)
        self._uniform += float((means.max(axis=1) - means.mean(axis=1)).sum())

    def played(self) -> Played:
        return Played(self._best / REQUESTS, 100.0 * self._lost / self._uniform)


def _outcomes(rng: np.random.Generator, means: Floats, sd: float | None) -> Floats:
    """Yes or no, or scores from a Beta with that mean and spread."""
    if sd is None:
        return (rng.random(means.shape) < means).astype(np.float64)
    concentration = means * (1.0 - means) / (sd * sd) - 1.0
    return rng.beta(means * concentration, (1.0 - means) * concentration)
