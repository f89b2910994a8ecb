"""What came back: counted as it comes, summed up at the end. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.traffic.plan import Question
from tasks.evaluators.assertions import CITATION, admits_not_knowing

ALL_KINDS = "all"


@dataclass(frozen=True)
class Outcome:
    """One call's end. ``error`` is a code, empty for an answer; ``right`` is unknown (None) without one."""

    kind: str
    latency_ms: float
    error: str = ""
    version: str = ""
    arm: str = ""
    layer: str = ""
    provider: str = ""
    right: bool | None = None
    cost_usd: float | None = 0.0


def is_right(question: Question, answer: str) -> bool:
    """All the expected strings are there; where nothing can be known, the answer says so."""
    if not question.answerable:
        return admits_not_knowing(answer)
    said = " ".join(CITATION.sub(" ", answer).split()).lower()
    return all(one.lower() in said for one in question.expect)


@dataclass(frozen=True)
class Rightness:
    """So many right answers of so many."""

    right: int
    answers: int


@dataclass
class TrafficReport:
    """Sums over the calls so far."""

    seconds: float = 0.0
    outcomes: list[Outcome] = field(default_factory=list)
    feedback: int = 0
    feedback_failed: int = 0

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def requests(self) -> int:
        return len(self.outcomes)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    def latency_ms(self, share: float) -> float | None:
        """The nearest-rank quantile of the answered calls, None without any."""
        known = sorted(one.latency_ms for one in self.outcomes if not one.error)
        return known[max(0, math.ceil(share * len(known)) - 1)] if known else None

    def errors(self) -> Mapping[str, int]:
        return Counter(one.error for one in self.outcomes if one.error)

    def count(self, name: str) -> Mapping[str, int]:
        """Answered calls by ``version``, ``arm``, ``layer``, ``provider`` or ``kind``."""
        return Counter(getattr(one, name) or "–" for one in self.outcomes if not one.error)

    def right_share(self, name: str) -> Mapping[str, float]:
        """Share of right answers by ``version`` or ``kind``."""
        seen: dict[str, list[bool]] = defaultdict(list)
        for one in self.outcomes:
            if one.right is not None:
                seen[getattr(one, name) or "–"].append(one.right)
        return {key: sum(values) / len(values) for key, values in sorted(seen.items())}

    def right_by(self) -> Mapping[str, Mapping[str, Rightness]]:
        """Right answers by version, then by kind of question; ``all`` comes first."""
        seen: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for one in self.outcomes:
            if one.right is not None:
                for kind in (ALL_KINDS, one.kind):
                    seen[one.version or "–"][kind].append(one.right)
        return {
            version: {kind: Rightness(sum(seen[version][kind]), len(seen[version][kind])) for kind in _ordered(kinds)}
            for version, kinds in sorted(seen.items())
        }

    @property
    def answers(self) -> int:
        """Calls that were answered."""
        return sum(1 for one in self.outcomes if not one.error)

    @property
    def hit_rate(self) -> float | None:
        """Share of the answers for which no model was asked; None without any answer."""
        hits = sum(1 for one in self.outcomes if not one.error and one.layer not in ("", "none"))
        return hits / self.answers if self.answers else None

    def cost_usd(self) -> float | None:
        """What the answers cost; None as soon as one price is unknown."""
        costs = [one.cost_usd for one in self.outcomes if not one.error]
        return None if any(cost is None for cost in costs) else sum(cost or 0.0 for cost in costs)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers for machines; latencies in milliseconds."""
        return {
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "requests_per_second": round(self.rate, 2),
            "errors": dict(self.errors()),
            "latency_ms": {f"p{int(q * 100)}": self.latency_ms(q) for q in (0.5, 0.95, 0.99)},
            "layers": dict(self.count("layer")),
            "versions": dict(self.count("version")),
            "providers": dict(self.count("provider")),
            "answers": self.answers,
            "hit_rate": self.hit_rate,
            "right": {
                version: {kind: {"right": one.right, "answers": one.answers} for kind, one in kinds.items()}
                for version, kinds in self.right_by().items()
            },
            "right_by_version": self.right_share("version"),
            "right_by_kind": self.right_share("kind"),
            "feedback": self.feedback,
            "feedback_failed": self.feedback_failed,
            "cost_usd": self.cost_usd(),
        }


def _ordered(kinds: Iterable[str]) -> list[str]:
    return sorted(kinds, key=lambda kind: (kind != ALL_KINDS, kind))
