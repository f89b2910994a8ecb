"""Thompson sampling: which share of the users each arm of a bandit gets. Pure; nothing is drawn.

- Posteriors are Beta, from a uniform prior (Thompson 1933; Chapelle & Li, "An Empirical Evaluation of Thompson
  Sampling", NeurIPS 2011). A graded score s in [0, 1] enters as s of a success and 1 − s of a failure, not by the
  Bernoulli draw with which Agrawal & Goyal ("Analysis of Thompson Sampling for the Multi-armed Bandit Problem", COLT
  2012, Algorithm 2) carry their regret bound over to graded rewards: the same ledger must always give the same weights.
  A score in [0, 1] varies at most as much as a yes or no of the same mean, so that the posterior is at least as wide as
  what it describes.
- Discounted (Raj & Kalyani, "Taming Non-stationary Bandits: A Bayesian Approach", arXiv:1707.09727, 2017): every
  further outcome, of whichever arm, multiplies all earlier ones by γ; the prior is not discounted.
- Weights are the probabilities of being best, which is what Thompson's rule draws by. They are computed, for
  independent arms, as P(a) = ∫₀¹ ∏ F_b(F_a⁻¹(u)) du, so that a step that is repeated gives what it gave before.
- No arm that takes part falls below the floor: its users go on being drawn at random, by a known probability.
- Contextual: a segment's prior is what the *other* segments say, held with the certainty that the spread between
  segments warrants (empirical Bayes on beta-binomial counts; Casella, "An Introduction to Empirical Bayes Data
  Analysis", The American Statistician 1985). Where segments do not differ that is the global posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, betaln

from tasks.statistics.eprocess import FloatArray

BASIS = 10_000
LEAST_FLOOR = 0.05
PRIOR = 1.0
"""Of the prior Beta(1, 1): one imagined success and one imagined failure."""
_NODES = 128
# Outcomes' worth of what the other segments say; from hardly anything to all there ever is.
_CERTAINTIES = np.logspace(0.0, 5.0, 41)
# Keeps a mean off 0 and 1, where a Beta has no shape.
_TRACE = 1e-3
# Log likelihoods this close say nothing about which is right.
_ALIKE = 0.01
_INTERVAL = 0.95


@dataclass(frozen=True, slots=True)
class Posterior:
    """Beta(alpha, beta) of an arm's mean."""

    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)

    @property
    def interval(self) -> tuple[float, float]:
        """What holds 95 % of it."""
        tails = ((1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2)
        lower, upper = (float(betaincinv(self.alpha, self.beta, tail)) for tail in tails)
        return lower, upper


@dataclass(frozen=True, slots=True)
class Allocation:
    """Posterior, probability of being best (0 for an excluded arm) and share in basis points, one for each arm."""

    posteriors: tuple[Posterior, ...]
    best: tuple[float, ...]
    weights: tuple[int, ...]


def tally(arms: NDArray[np.int_], values: FloatArray, count: int, discount: float = 1.0) -> FloatArray:
    """Successes and failures by arm, shape (count, 2), of outcomes in order of time; both arguments of shape (n,).

    ``discount`` γ in (0, 1]; the newest outcome counts whole. Raises ValueError for one outside, and for a value
    outside [0, 1].
    """
    ages = discounts(values.size, discount)
    _require_shares(values)
    found = np.zeros((count, 2))
    np.add.at(found[:, 0], arms, ages * values)
    np.add.at(found[:, 1], arms, ages * (1.0 - values))
    return found


def discounts(outcomes: int, discount: float) -> FloatArray:
    """What each of so many outcomes still counts, the oldest first; shape (outcomes,)."""
    if not 0.0 < discount <= 1.0:
        raise ValueError(f"discount must lie in (0, 1], got {discount!r}")
    found: FloatArray = discount ** np.arange(outcomes - 1, -1, -1, dtype=np.float64)
    return found


def probability_of_best(alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """P(arm has the highest mean) of independent Beta posteriors, shape (…, arms); adds up to 1 over the arms.

    Gauss–Legendre in the quantiles of each arm: right to about one point in a hundred.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    u, weights = (nodes + 1.0) / 2.0, weights / 2.0
    points = betaincinv(alpha[..., None], beta[..., None], u)  # (…, arms, nodes)
    arms = alpha.shape[-1]
    found = np.empty(alpha.shape)
    for arm in range(arms):
        others = [b for b in range(arms) if b != arm]
        product = np.ones((*alpha.shape[:-1], _NODES))
        for other in others:
            product = product * betainc(alpha[..., other, None], beta[..., other, None], points[..., arm, :])
        found[..., arm] = product @ weights
    shares: FloatArray = found / found.sum(axis=-1, keepdims=True)
    return shares


def with_floor(shares: FloatArray, floor: float) -> FloatArray:
    """Shares, (…, arms), of which none is below ``floor``; those above it keep their proportions.

    Where the floors alone are more than there is, all shares are equal.
    """
    arms = shares.shape[-1]
    if floor * arms >= 1.0:
        return np.full(shares.shape, 1.0 / arms)
    lifted = np.zeros(shares.shape, dtype=bool)
    found: FloatArray = shares
    for _ in range(arms):
        room = 1.0 - floor * lifted.sum(axis=-1, keepdims=True)
        free = np.where(lifted, 0.0, shares)
        found = np.where(lifted, floor, free * room / np.maximum(free.sum(axis=-1, keepdims=True), 1e-300))
        if not bool((below := (found < floor) & ~lifted).any()):
            break
        lifted |= below
    return found


def basis_points(shares: Sequence[float]) -> tuple[int, ...]:
    """Shares that add up to 1 as whole basis points that add up to 10,000: the largest remainders are rounded up."""
    exact = [share * BASIS for share in shares]
    whole = [int(one) for one in exact]
    first = sorted(range(len(exact)), key=lambda at: (whole[at] - exact[at], at))
    for at in first[: BASIS - sum(whole)]:
        whole[at] += 1
    return tuple(whole)


def allocate(counts: FloatArray, eligible: Sequence[bool], floor: float = LEAST_FLOOR) -> Allocation:
    """What each arm gets, from successes and failures of shape (arms, 2). Arms that are not eligible get nothing.

    Raises ValueError unless some arm is eligible and ``floor`` lies in [0.05, 1).
    """
    return _allocated(PRIOR + counts[:, 0], PRIOR + counts[:, 1], eligible, floor)


def allocate_by_segment(
    counts: FloatArray, eligible: Sequence[bool], floor: float = LEAST_FLOOR
) -> tuple[Allocation, ...]:
    """The same for each segment, from counts of shape (segments, arms, 2), with what the others say as its prior."""
    alpha, beta = shrunk(counts)
    return tuple(_allocated(a, b, eligible, floor) for a, b in zip(alpha, beta, strict=True))


def shrunk(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """α and β by segment and arm, each (segments, arms), from counts of shape (segments, arms, 2).

    A segment without outcomes has the global posterior, as certain as the spread between segments lets it be.
    """
    total = counts.sum(axis=0)
    others = total - counts
    size = others.sum(axis=-1, keepdims=True)
    kept = np.minimum(1.0, certainty(counts)[:, None] / np.maximum(size, 1e-12))
    prior = PRIOR + others * kept
    found = prior + counts
    return found[..., 0], found[..., 1]


def certainty(counts: FloatArray) -> FloatArray:
    """Outcomes' worth of certainty that one segment's mean of an arm gives about another's, shape (arms,): the κ of
    Beta(μκ, (1 − μ)κ) under which the segments' counts, (segments, arms, 2), are likeliest. The greatest there is
    where nothing differs.

    Graded scores spread less than the yes or no that it takes them for: κ rather comes out too great than too small.
    """
    total = counts.sum(axis=0)
    mean = (_TRACE + total[:, 0]) / (2 * _TRACE + total.sum(axis=-1))
    a, b = mean * _CERTAINTIES[:, None, None], (1.0 - mean) * _CERTAINTIES[:, None, None]
    likelihood = (betaln(a + counts[..., 0], b + counts[..., 1]) - betaln(a, b)).sum(axis=1)  # (certainties, arms)
    # The last of those that are as good as equally likely: without a difference to see, all segments are one.
    alike = likelihood >= likelihood.max(axis=0) - _ALIKE
    found: FloatArray = _CERTAINTIES[_CERTAINTIES.size - 1 - alike[::-1].argmax(axis=0)]
    return found


def _allocated(alpha: FloatArray, beta: FloatArray, eligible: Sequence[bool], floor: float) -> Allocation:
    if not any(eligible):
        raise ValueError("at least one arm must be eligible")
    if not LEAST_FLOOR <= floor < 1.0:
        raise ValueError(f"floor must lie in [{LEAST_FLOOR:g}, 1), got {floor!r}")
    mine = np.flatnonzero(np.asarray(eligible))
    best = np.zeros(alpha.size)
    best[mine] = probability_of_best(alpha[mine], beta[mine])
    shares = np.zeros(alpha.size)
    shares[mine] = with_floor(best[mine], floor)
    return Allocation(
        posteriors=tuple(Posterior(float(a), float(b)) for a, b in zip(alpha, beta, strict=True)),
        best=tuple(float(one) for one in best),
        weights=basis_points([float(one) for one in shares]),
    )


def _require_shares(values: FloatArray) -> None:
    if values.size and not bool(((values >= 0.0) & (values <= 1.0)).all()):
        raise ValueError("outcomes must lie in [0, 1]")
