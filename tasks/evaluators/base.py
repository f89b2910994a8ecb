"""The port of everything that says what an answer is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tasks.specs.model import Assertion


@dataclass(frozen=True)
class Answered:
    """One answer and all that an evaluator may look at. ``documents`` are the passages that the model saw.

    ``cost_usd`` and ``latency_ms`` are None where nobody knows; ``rival`` is what the version in production answered
    to the same item in the same repeat, None where there is none.
    """

    question: str
    answer: str
    variables: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    documents: str = ""
    tags: tuple[str, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    cost_usd: float | None = None
    latency_ms: float | None = None
    repeat: int = 0
    rival: str | None = None


@dataclass(frozen=True)
class Score:
    """``value`` in [0, 1] with its reason; ``parts`` are what it is made of, each in [0, 1].

    Without a value either the evaluator has nothing to say about this answer, or it has ``failed``: then nothing is
    known about the item, which is never a 0.
    """

    value: float | None
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    failed: bool = False


class Evaluator(Protocol):
    """Scores answers, each by itself. A list in, a list out, so that it can ask a model for many at once."""

    @property
    def name(self) -> str:
        """The metric's name."""

    @property
    def version(self) -> str:
        """Changes whenever the same answer may get another score; part of every result."""

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        """One score for each answer, in order. What goes wrong with one is its score's reason: it never raises."""
