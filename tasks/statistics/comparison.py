"""Comparing two versions item by item: bootstrap bounds of a mean, exact McNemar, items still needed.

Bootstrap: percentile interval over items (Efron & Tibshirani 1993, ch. 13). Where few items changed at all,
resampling cannot know the rare large change it has not seen: 40 items without a change would "prove" a difference of
exactly 0. There one imaginary item at the worst value joins the sample for the lower bound, which reproduces the rule
of three (0 falls among n items bound their rate by about 3/n) and brings the false-pass rate on sparse changes near its
level (simulated at a 5-point margin, 40 items, falls only: 13 % without it, 0 % with it).

Where many items changed a little and a few broke, the sample knows its tail but the percentile bound trusts it too far:
the lower bound takes the level of Efron's BCa interval (1987; for a mean, acceleration and bias are both skewness/6√n),
where that is the more cautious one (60 judged items of which 1 in 18 broke: 8.6 % false passes without, 6.2 % with it;
200 items: 7.1 % and 5.1 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from tasks.statistics.eprocess import FloatArray

# Below so many changed items the imaginary extreme item is added; above it, the sample knows its own tail.
FEW_CHANGES = 30
POWER_FOR_ESTIMATES = 0.8
# Memory of one batch of resamples, in drawn indices.
_BATCH = 2_000_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """A mean with one-sided bounds: the truth lies below `lower` (above `upper`) at most as often as stated."""

    mean: float
    lower: float
    upper: float
    n: int


def bootstrap_bounds(
    values: FloatArray,
    rng: np.random.Generator,
    *,
    alpha_lower: float,
    alpha_upper: float,
    worst: float | None = None,
    usual: float | None = None,
    resamples: int = 2_000,
) -> Bounds:
    """Bounds of the mean of `values` (shape (n,), n ≥ 1).

    `worst` is the lowest value an item can have; None leaves the imaginary item out, which suits descriptions only.

    `usual` is the value of an unchanged item (0 for differences; None: the most frequent one); the number of other
    values tells whether changes are sparse. Deterministic for a given generator state.
    """
    n = values.size
    if n == 0:
        raise ValueError("a mean needs at least one item")
    if usual is None:
        found, counts = np.unique(values, return_counts=True)
        usual = float(found[counts.argmax()])
    sparse = int(np.count_nonzero(np.abs(values - usual) > 1e-9)) < FEW_CHANGES
    means = _resampled_means(values, rng, resamples)
    if sparse and worst is not None:
        lower = np.quantile(_resampled_means(np.append(values, worst), rng, resamples), alpha_lower)
    else:
        lower = np.quantile(means, min(alpha_lower, _accelerated(values, alpha_lower)))
    return Bounds(
        mean=float(values.mean()),
        lower=float(lower),
        upper=float(np.quantile(means, 1.0 - alpha_upper)),
        n=n,
    )


def _accelerated(values: FloatArray, alpha: float) -> float:
    """The level of the percentiles at which the BCa bound at `alpha` lies."""
    deviations = values - values.mean()
    variance = float((deviations**2).mean())
    if variance <= 0.0:
        return alpha
    acceleration = float((deviations**3).mean()) / variance**1.5 / (6.0 * math.sqrt(values.size))
    z = acceleration + float(ndtri(alpha))
    # Beyond 1/acceleration the formula turns round; so skewed a sample says next to nothing about its tail.
    return float(ndtr(acceleration + z / (1.0 - acceleration * z))) if acceleration * z < 1.0 else 0.0


def _resampled_means(values: FloatArray, rng: np.random.Generator, resamples: int) -> FloatArray:
    means = np.empty(resamples)
    step = max(1, _BATCH // values.size)
    for begin in range(0, resamples, step):
        drawn = rng.integers(0, values.size, size=(min(step, resamples - begin), values.size))
        means[begin : begin + step] = values[drawn].mean(axis=1)
    return means


def mcnemar_worse(fell: int, rose: int) -> float:
    """Exact one-sided McNemar p-value that the candidate is worse: `fell` and `rose` are the discordant items.

    Under "no difference" each discordant item falls with probability ½ (McNemar 1947, exact binomial form).
    """
    if fell + rose == 0:
        return 1.0
    from scipy.stats import binomtest  # takes seconds: the flows of every minute import this module too

    return float(binomtest(fell, fell + rose, 0.5, alternative="greater").pvalue)


def fewest_items(margin: float, alpha: float) -> int:
    """Items without any change that show non-inferiority: fewer could miss a fall of 1 on a share `margin` of items.

    (1 − margin)ⁿ ≤ α: 59 for 0.05 and 29 for 0.10 at α = 0.05.
    """
    return math.ceil(math.log(alpha) / math.log1p(-margin))


def items_needed(mean: float, sd: float, margin: float, alpha: float) -> int | None:
    """Items in all that show `mean` > −margin four times out of five if mean and spread stay; None: not by more items.

    Normal approximation: ((z₁₋α + z₀.₈) · sd / (mean + margin))².
    """
    room = mean + margin
    if room <= 0.0:
        return None
    z = float(ndtri(1.0 - alpha) + ndtri(POWER_FOR_ESTIMATES))
    return max(fewest_items(margin, alpha) + 1, math.ceil((z * sd / room) ** 2))
