"""Have the questions changed? A kernel two-sample test on their embeddings.

The unbiased MMD² of Gretton et al., "A Kernel Two-Sample Test" (JMLR 2012), lemma 6, with a Gaussian kernel whose
bandwidth is the median distance of the pooled sample; its null distribution by permutation, so that the p-value is
exact for exchangeable rows (Phipson & Smyth 2010: (1 + b) / (1 + m)).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 500
"""Of each sample; more are drawn at random. 1,000 rows are a kernel of 4 MB, and 1,999 permutations take 0.3 s."""

PERMUTATIONS = 1_999

_SMALLEST_BANDWIDTH = 1e-6  # all rows are the same


@dataclass(frozen=True, slots=True)
class Mmd:
    """``value`` is MMD² (may be slightly negative); ``rows`` are those that took part, current and reference."""

    value: float
    p_value: float
    rows: tuple[int, int]


def mmd_test(
    current: NDArray[np.float32],
    reference: NDArray[np.float32],
    draw: np.random.Generator,
    permutations: int = PERMUTATIONS,
    max_rows: int = MAX_ROWS,
) -> Mmd:
    """Shapes (n, d) and (m, d), n and m ≥ 2. Raises ``ValueError`` for fewer rows or unequal dimensions."""
    if min(len(current), len(reference)) < 2:
        raise ValueError("each sample needs at least two rows")
    if current.shape[1] != reference.shape[1]:
        raise ValueError(f"{current.shape[1]} and {reference.shape[1]} dimensions cannot be compared")
    mine, theirs = _sampled(current, draw, max_rows), _sampled(reference, draw, max_rows)
    kernel = _gaussian_kernel(np.concatenate([mine, theirs]).astype(np.float64))
    total, n = len(kernel), len(mine)
    # Column 0 is the real assignment, the others are random ones of the same sizes.
    member = np.zeros((total, 1 + permutations), dtype=np.float64)
    member[:n, 0] = 1.0
    for column in range(1, 1 + permutations):
        member[draw.permutation(total)[:n], column] = 1.0
    values = _unbiased(kernel, member, n, total - n)
    # Equal up to rounding is not smaller: a constant sample must not look extreme.
    extreme = int(np.sum(values[1:] >= values[0] - 1e-12))
    return Mmd(float(values[0]), (1 + extreme) / (1 + permutations), (n, total - n))


def _sampled(rows: NDArray[np.float32], draw: np.random.Generator, most: int) -> NDArray[np.float32]:
    return rows if len(rows) <= most else rows[np.sort(draw.choice(len(rows), most, replace=False))]


def _gaussian_kernel(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(−‖x − y‖² / 2σ²), σ the median distance, with an empty diagonal: the unbiased estimate leaves it out."""
    squares = np.sum(rows * rows, axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2.0 * (rows @ rows.T), 0.0)
    median = float(np.median(np.sqrt(distances[np.triu_indices(len(rows), k=1)])))
    kernel = np.exp(-distances / (2.0 * max(median, _SMALLEST_BANDWIDTH) ** 2))
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel, dtype=np.float64)


def _unbiased(kernel: NDArray[np.float64], member: NDArray[np.float64], n: int, m: int) -> NDArray[np.float64]:
    """MMD² of each column of ``member`` (1: in the first sample)."""
    reached = kernel @ member
    within = np.sum(member * reached, axis=0)
    across = np.sum((1.0 - member) * reached, axis=0)
    beyond = kernel.sum() - within - 2.0 * across
    return np.asarray(within / (n * (n - 1)) + beyond / (m * (m - 1)) - 2.0 * across / (n * m), dtype=np.float64)
