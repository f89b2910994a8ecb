"""A sequential sign test on pairs: is the candidate worse than the version in production on the very same questions?

Each pair is a loss of the candidate, a win, or a tie, which says nothing (McNemar, "Note on the sampling error of the
difference between correlated proportions or percentages", 1947). Where the candidate is no worse, a pair that is no tie
is a loss with probability θ ≤ ½, whatever came before it. With l losses and w wins

    E = ∫ 2 θˡ (1 − θ)ʷ dθ over [½, 1], divided by ½ˡ⁺ʷ = 2ˡ⁺ʷ⁺¹ · B(l + 1, w + 1) · P(Beta(l + 1, w + 1) > ½)

is a likelihood ratio against θ = ½ mixed over every θ above it (Robbins, "Statistical methods related to the law of the
iterated logarithm", 1970): a non-negative supermartingale that starts at 1, so that by Ville's inequality
P(E ever reaches 1/α) ≤ α, however often one looks. Nine losses without a win reach 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaln

from tasks.statistics.eprocess import FloatArray, log_threshold

_LOWEST = -700.0
"""log E below which nothing is told apart."""


@dataclass(frozen=True, slots=True)
class PairedRule:
    """What one metric of a pair is held against; values are compared, never averaged over different questions.

    With a ``ratio`` r, a loss is a candidate's value of more than r times the other's, a win the reverse: noise within
    r is a tie, and nobody is refused while half of the pairs are within it. ``tolerance`` (on the metric's scale) is
    how much worse on average is still no reason to refuse. What does not ``decide`` is reported. ``weight`` is its
    share of α beside the other rules' that decide.
    """

    metric: str
    lower_is_better: bool = False
    ratio: float | None = None
    tolerance: float = 0.0
    decides: bool = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.ratio is not None and self.ratio < 1.0:
            raise ValueError(f"a ratio below 1 makes both a win and a loss of {self.metric!r}: {self.ratio!r}")
        if self.weight <= 0.0:
            raise ValueError(f"the weight of {self.metric!r} must be positive, got {self.weight!r}")

    def sign(self, candidate: float, stable: float) -> int:
        """−1: a loss of the candidate, 1: a win, 0: a tie."""
        room = self.ratio or 1.0
        more = int(candidate > room * stable) - int(stable > room * candidate)
        return -more if self.lower_is_better else more


@dataclass(frozen=True, slots=True)
class PairedEvidence:
    """What the pairs so far say about one metric. Means and the median ratio are None without pairs.

    ``log_e_max`` is the highest so far, which decides.
    """

    metric: str
    lower_is_better: bool
    ratio: float | None
    tolerance: float
    decides: bool
    pairs: int
    losses: int
    wins: int
    candidate_mean: float | None
    stable_mean: float | None
    median_ratio: float | None
    log_e: float
    log_e_max: float
    log_threshold: float

    @property
    def worse(self) -> bool:
        """Evidence of harm, and of more than is tolerated."""
        if not self.decides or self.candidate_mean is None or self.stable_mean is None:
            return False
        if self.ratio is not None and self.median_ratio is not None and self.median_ratio <= self.ratio:
            return False  # some pairs are beyond the ratio by chance, and most are within it
        fall = self.candidate_mean - self.stable_mean
        fall = fall if self.lower_is_better else -fall
        return self.log_e_max >= self.log_threshold and fall > self.tolerance

    def in_words(self) -> str:
        """ "failure: the candidate lost 11 and won 0 of 42 pairs (0.262 against 0.000; E = 341, decided at 80)"."""
        if self.candidate_mean is None or self.stable_mean is None:
            return f"{self.metric}: no pair has a value"
        e = f"{math.exp(self.log_e_max):.3g}" if self.log_e_max < 14 else f"1e{self.log_e_max / math.log(10):.0f}"
        means = f"{self.candidate_mean:.3g} against {self.stable_mean:.3g}"
        counted = f", counted from {self.ratio:g} times as much" if self.ratio is not None else ""
        return (
            f"{self.metric}: the candidate lost {self.losses} and won {self.wins} of {self.pairs} pairs"
            f" ({means}{counted}; E = {e}, decided at {math.exp(self.log_threshold):.3g})"
        )


def weigh_pairs(rule: PairedRule, values: Sequence[tuple[float, float]], *, level: float) -> PairedEvidence:
    """The evidence about one metric, tested at ``level``, from (candidate, stable) in a fixed order."""
    table = np.asarray(values, dtype=np.float64).reshape(len(values), 2)
    signs = np.asarray([rule.sign(float(one), float(other)) for one, other in table], dtype=np.int64)
    path = log_e_path(signs)
    positive = table[(table > 0).all(axis=1)]
    return PairedEvidence(
        metric=rule.metric,
        lower_is_better=rule.lower_is_better,
        ratio=rule.ratio,
        tolerance=rule.tolerance,
        decides=rule.decides,
        pairs=len(values),
        losses=int((signs < 0).sum()),
        wins=int((signs > 0).sum()),
        candidate_mean=float(table[:, 0].mean()) if len(values) else None,
        stable_mean=float(table[:, 1].mean()) if len(values) else None,
        median_ratio=float(np.median(positive[:, 0] / positive[:, 1])) if len(positive) else None,
        log_e=float(path[-1]) if path.size else 0.0,
        log_e_max=float(path.max(initial=0.0)),
        log_threshold=log_threshold(level),
    )


def log_e_path(signs: np.ndarray) -> FloatArray:
    """log E after each pair; ``signs`` are −1 (loss), 0, 1 in order, shape (…, pairs)."""
    losses = np.cumsum(signs < 0, axis=-1, dtype=np.float64)
    wins = np.cumsum(signs > 0, axis=-1, dtype=np.float64)
    upper = betainc(wins + 1.0, losses + 1.0, 0.5)  # P(Beta(l + 1, w + 1) > ½), by symmetry
    with np.errstate(divide="ignore"):
        tail = np.log(upper)
    path: FloatArray = (losses + wins + 1.0) * math.log(2.0) + betaln(losses + 1.0, wins + 1.0) + tail
    return np.maximum(path, _LOWEST)
