"""Chance for the practice model: hashes, so that equal calls get equal answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from .words import chance


@dataclass(frozen=True, slots=True)
class Dice:
    """Rolls that depend on model and question alone at temperature 0, and on `salt` (the seed) above it."""

    model: str
    question: str
    temperature: float
    salt: str

    def slips(self, what: str, probability: float) -> bool:
        """Whether the slip called `what` happens, at temperature 0 the same for this model and question always."""
        return probability > 0 and chance(self.model, what, self.question, self.salt) < probability

    def pick(self, what: str, options: Sequence[str]) -> str:
        """The first option at temperature 0; above it, any, the more evenly the hotter."""
        if not self.temperature or chance("stay", what, self.question, self.salt) > self.temperature:
            return options[0]
        return options[int(chance("pick", what, self.question, self.salt) * len(options))]
