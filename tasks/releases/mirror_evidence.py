"""From pairs of a live call and its mirrored one to what the mirror stage decides on. Pure.

A pair says something about a prompt version when both calls went to the first-choice model of the two versions that
are compared, and neither failed for a reason outside of its prompt. Of each user the first such pair counts: a user's
questions are alike, and nobody's taste may decide alone. The others are counted by the reason why they are left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.ledger.mirrored import MirroredPair
from tasks.evaluators.assertions import Facts, check_all, share_passed
from tasks.releases.evidence import BLAMED_ERRORS, FAILURE
from tasks.specs.model import Assertion, CanarySpec, MirrorSpec
from tasks.statistics.mirror import MirrorPolicy
from tasks.statistics.paired_signs import PairedRule

ASSERTIONS, LATENCY, COST, PREFERRED = "assertions", "latency", "cost", "preferred"
Values = Mapping[str, Sequence[tuple[float, float]]]
"""(candidate, stable) by metric, in order."""


@dataclass(frozen=True)
class Compared:
    """The pairs that count, in order, their values, what was left out by reason, and figures for people alone."""

    pairs: tuple[MirroredPair, ...]
    values: Values
    excluded: Mapping[str, int] = field(default_factory=dict)
    described: Mapping[str, float | None] = field(default_factory=dict)


def mirror_policy(canary: CanarySpec, mirror: MirrorSpec, assertions: Sequence[Assertion]) -> MirrorPolicy:
    """Failures have half of α: they are what a mirror is for. The others share the rest alike."""
    rules = [
        PairedRule(ASSERTIONS, tolerance=canary.tolerance, decides=bool(assertions)),
        PairedRule(PREFERRED, decides=mirror.judged > 0),
        PairedRule(
            LATENCY,
            lower_is_better=True,
            ratio=mirror.max_latency_ratio or 1.0,
            decides=mirror.max_latency_ratio is not None,
        ),
        PairedRule(
            COST, lower_is_better=True, ratio=mirror.max_cost_ratio or 1.0, decides=mirror.max_cost_ratio is not None
        ),
    ]
    others = sum(rule.decides for rule in rules)
    failure = PairedRule(FAILURE, lower_is_better=True, tolerance=canary.tolerance, weight=max(others, 1))
    return MirrorPolicy((failure, *rules), canary.alpha, mirror.calls, mirror.max_hours * 3600)


def why_left_out(pair: MirroredPair, version: str, baseline: str) -> str:
    """Empty for a pair that says something about both versions, else the reason."""
    if not pair.user:
        return "no user"
    if (pair.version, pair.live_version) != (version, baseline):
        return "answered by another version"
    if pair.fell_back or pair.live_fell_back:
        return "answered by a fallback"
    if pair.live_status != "ok" and pair.live_error not in BLAMED_ERRORS:
        return "the live call failed outside of the prompt"
    if pair.status != "ok" and pair.error not in BLAMED_ERRORS:
        return "the mirrored call failed outside of the prompt"
    return ""


def compare(
    pairs: Iterable[MirroredPair], *, version: str, baseline: str, assertions: Sequence[Assertion], judged: int
) -> Compared:
    """The values of ``pairs`` in the order that they are given in; of the first ``judged``, what the judge prefers."""
    excluded: Counter[str] = Counter()
    chosen: dict[str, MirroredPair] = {}
    for pair in pairs:
        if reason := why_left_out(pair, version, baseline):
            excluded[reason] += 1
        elif chosen.setdefault(pair.user, pair) is not pair:
            excluded["another call of a user who counts already"] += 1
    counted = tuple(chosen.values())
    answered = [pair for pair in counted if pair.status == pair.live_status == "ok"]
    values = {
        FAILURE: [(float(pair.status != "ok"), float(pair.live_status != "ok")) for pair in counted],
        ASSERTIONS: _assertions(answered, assertions),
        PREFERRED: _preferred(counted[:judged]),
        LATENCY: [
            (pair.model_ms, pair.live_model_ms)
            for pair in answered
            if pair.model_ms is not None and pair.live_model_ms is not None and not pair.live_streamed
        ],
        COST: [
            (float(pair.cost_usd), float(pair.live_cost_usd))
            for pair in answered
            if pair.cost_usd is not None and pair.live_cost_usd is not None
        ],
    }
    return Compared(counted, values, dict(sorted(excluded.items())), _described(answered))


def _assertions(pairs: Sequence[MirroredPair], assertions: Sequence[Assertion]) -> list[tuple[float, float]]:
    """The share of the gate's assertions that each answer passes, where both can be told."""
    found = []
    for pair in pairs:
        if not assertions or pair.answer is None or pair.live_answer is None:
            continue
        shares = [
            share_passed(check_all(assertions, text, Facts(None if cost is None else float(cost), took)))
            for text, cost, took in (
                (pair.answer, pair.cost_usd, pair.model_ms),
                (pair.live_answer, pair.live_cost_usd, pair.live_model_ms),
            )
        ]
        if shares[0] is not None and shares[1] is not None:
            found.append((shares[0], shares[1]))
    return found


def _preferred(pairs: Sequence[MirroredPair]) -> list[tuple[float, float]]:
    """In the order of the verdicts: one that comes late must not rewrite what earlier looks saw."""
    told = [(pair.scored_at[PREFERRED], place) for place, pair in enumerate(pairs) if PREFERRED in pair.scores]
    shares = [pairs[place].scores[PREFERRED] for _, place in sorted(told)]
    return [(share, 1.0 - share) for share in shares]


def _described(pairs: Sequence[MirroredPair]) -> dict[str, float | None]:
    """How long the answers are, in words, and how many of their words both have, on average."""
    texts = [(pair.answer, pair.live_answer) for pair in pairs if pair.answer and pair.live_answer]
    if not texts:
        return {"words": None, "words_before": None, "shared_words": None, "same_text": None}
    words = [(now.lower().split(), then.lower().split()) for now, then in texts]
    return {
        "words": float(np.mean([len(now) for now, _ in words])),
        "words_before": float(np.mean([len(then) for _, then in words])),
        "shared_words": float(np.mean([_shared(now, then) for now, then in words])),
        "same_text": float(np.mean([now == then for now, then in words])),
    }


def _shared(now: Sequence[str], then: Sequence[str]) -> float:
    """Dice's coefficient of two bags of words; two that are empty are the same."""
    both, all_words = sum((Counter(now) & Counter(then)).values()), len(now) + len(then)
    return 2 * both / all_words if all_words else 1.0
