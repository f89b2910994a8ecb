"""What an arm is worth in money, with the uncertainty of its users and of the judge. Seeded; pure.

Net value of a call = P(resolved) · resolved − P(not resolved) · escalation − minutes waited · waiting minute − cost.

Users: the Bayesian bootstrap over users (Rubin, "The Bayesian Bootstrap", Annals of Statistics 1981), so that the calls
of one user stay together; two imaginary half users, one resolved and one not, keep an arm where everything was resolved
from being certain (with one call a user this is Jeffreys' Beta(r + ½, n − r + ½)).
Judge: it says "resolved" with sensitivity Se to what is, and with 1 − Sp to what is not, so the true share is
(p + Sp − 1) / (Se + Sp − 1), cut to [0, 1] (Rogan & Gladen, American Journal of Epidemiology 1978). Se and Sp are drawn
from their Jeffreys posteriors, the same for both arms: one judge scores both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.statistics.eprocess import FloatArray

DRAWS = 4_000
LEVEL = 0.95
BINS = 40
FEWEST_USERS = 5
# A judge that says hardly more about what is resolved than about what is not has said nothing.
_LEAST_YOUDEN = 0.05
_PER = 1_000.0


@dataclass(frozen=True, slots=True)
class Values:
    """What people declared, in US dollars: a resolved question, an escalation (a loss), a minute waited (a loss)."""

    resolved: float
    escalation: float = 0.0
    waiting_minute: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgeErrors:
    """Labelled examples: resolved ones that the judge found so or missed, others that it found so or not."""

    true_resolved: int
    missed: int
    true_unresolved: int
    false_resolved: int


@dataclass(frozen=True, slots=True)
class ArmUsers:
    """Sums by user, each of shape (users,): calls that were judged and of those resolved; calls, minutes; priced calls
    and their dollars."""

    judged: FloatArray
    resolved: FloatArray
    calls: FloatArray
    minutes: FloatArray
    priced: FloatArray
    dollars: FloatArray

    @property
    def enough(self) -> bool:
        """Whether there is anything to draw from."""
        known = int((self.judged > 0).sum()) >= FEWEST_USERS
        return known and bool(self.calls.sum() > 0) and bool(self.priced.sum() > 0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with the interval that holds 95 % of what is plausible."""

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Draws as a histogram: shares of them in bins of equal width; the outermost 1 % are left out."""

    lower: float
    upper: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ArmValue:
    """One arm: share of calls that are resolved, dollars a call costs, net dollars per 1,000 calls and per year."""

    users: int
    calls: int
    resolved: Estimate
    cost_per_call: float
    minutes_per_call: float
    per_1000_calls: Estimate
    per_year: Estimate


@dataclass(frozen=True, slots=True)
class Impact:
    """Both arms, the candidate's gain over stable, and the probability that it loses money."""

    stable: ArmValue
    canary: ArmValue
    gain_per_1000_calls: Estimate
    gain_per_year: Estimate
    probability_of_loss: float
    calls_per_year: float
    judge_corrected: bool
    gain_spread: Spread
    """Of the gain per 1,000 calls."""


def impact(
    stable: ArmUsers,
    canary: ArmUsers,
    values: Values,
    *,
    calls_per_year: float,
    judge: JudgeErrors | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Impact | None:
    """The impact of the candidate; None while an arm has too few judged users or no known price."""
    if not (stable.enough and canary.enough):
        return None
    rng = np.random.default_rng(seed)
    errors = judge_draws(judge, draws, rng)
    nets: list[FloatArray] = []
    arms: list[ArmValue] = []
    for users in (stable, canary):
        share, minutes, dollars = _arm_draws(users, draws, rng)
        share = corrected_draws(share, errors, rng)
        lost = (1.0 - share) * values.escalation + minutes * values.waiting_minute + dollars
        net = share * values.resolved - lost
        nets.append(net)
        arms.append(
            ArmValue(
                users=int((users.calls > 0).sum()),
                calls=int(users.calls.sum()),
                resolved=estimate(share),
                cost_per_call=float(users.dollars.sum() / users.priced.sum()),
                minutes_per_call=float(users.minutes.sum() / users.calls.sum()),
                per_1000_calls=estimate(net * _PER),
                per_year=estimate(net * calls_per_year),
            )
        )
    gain = nets[1] - nets[0]
    return Impact(
        stable=arms[0],
        canary=arms[1],
        gain_per_1000_calls=estimate(gain * _PER),
        gain_per_year=estimate(gain * calls_per_year),
        probability_of_loss=float((gain < 0.0).mean() + (gain == 0.0).mean() / 2),
        calls_per_year=calls_per_year,
        judge_corrected=judge is not None,
        gain_spread=_spread(gain * _PER),
    )


def _arm_draws(users: ArmUsers, draws: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Share the judge finds resolved, minutes and dollars a call: each of shape (draws,)."""
    share, minutes, dollars = np.empty(draws), np.empty(draws), np.empty(draws)
    batch = max(1, 2_000_000 // max(1, users.calls.size))
    for begin in range(0, draws, batch):
        rows = slice(begin, min(draws, begin + batch))
        weights = rng.standard_exponential((rows.stop - begin, users.calls.size))
        imagined = rng.gamma(0.5, size=(rows.stop - begin, 2))
        resolved = weights @ users.resolved + imagined[:, 0]
        share[rows] = resolved / (weights @ users.judged + imagined.sum(axis=1))
        minutes[rows] = (weights @ users.minutes) / (weights @ users.calls)
        dollars[rows] = (weights @ users.dollars) / (weights @ users.priced)
    return share, minutes, dollars


def share_draws(users: ArmUsers, draws: int, rng: np.random.Generator) -> FloatArray:
    """Shares that the judge finds resolved, shape (draws,)."""
    share = np.empty(draws)
    batch = max(1, 2_000_000 // max(1, users.judged.size))
    for begin in range(0, draws, batch):
        rows = slice(begin, min(draws, begin + batch))
        weights = rng.standard_exponential((rows.stop - begin, users.judged.size))
        imagined = rng.gamma(0.5, size=(rows.stop - begin, 2))
        share[rows] = (weights @ users.resolved + imagined[:, 0]) / (weights @ users.judged + imagined.sum(axis=1))
    return share


def judge_draws(
    judge: JudgeErrors | None, draws: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray] | None:
    """Sensitivities and specificities, each of shape (draws,); None for a judge of whom nothing is known."""
    if judge is None:
        return None
    sensitivity = rng.beta(judge.true_resolved + 0.5, judge.missed + 0.5, draws)
    specificity = rng.beta(judge.true_unresolved + 0.5, judge.false_resolved + 0.5, draws)
    return sensitivity, specificity


def corrected_draws(
    share: FloatArray, errors: tuple[FloatArray, FloatArray] | None, rng: np.random.Generator
) -> FloatArray:
    """The true shares that a judge with these errors finds as ``share``; anything, where it says next to nothing."""
    if errors is None:
        return share
    sensitivity, specificity = errors
    youden = sensitivity + specificity - 1.0
    useful = youden > _LEAST_YOUDEN
    true = np.clip((share + specificity - 1.0) / np.where(useful, youden, 1.0), 0.0, 1.0)
    return np.where(useful, true, rng.random(share.size))


def estimate(values: FloatArray) -> Estimate:
    """Mean and interval of draws."""
    lower, upper = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values.mean()), float(lower), float(upper))


def _spread(values: FloatArray) -> Spread:
    lower, upper = np.quantile(values, [0.005, 0.995])
    if not upper > lower:
        lower, upper = lower - 0.5, upper + 0.5
    counts, _ = np.histogram(values, bins=BINS, range=(lower, upper))
    return Spread(float(lower), float(upper), tuple(float(count) / values.size for count in counts))
