"""What a drill found: the same figures without and with the protection, and what they must show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Figures = Mapping[str, float]
"""By what was counted or measured, with its unit in the name; the same names on both sides."""

Check = Callable[[Figures], bool]


@dataclass(frozen=True)
class Outcome:
    """``failed_without``: the failure showed; ``held_with``: it did not with the protection. Both: the drill passed."""

    drill: str
    failure: str
    left_out: str
    without: Figures
    protected: Figures
    failed_without: bool
    held_with: bool
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.failed_without and self.held_with

    @property
    def verdict(self) -> str:
        if self.passed:
            return "the failure shows without the protection and is gone with it"
        if not self.failed_without:
            return "the failure did not show, so that the drill proves nothing"
        return "the failure shows in spite of the protection"


def judged(
    drill: str, failure: str, left_out: str, *, without: Figures, protected: Figures, fails: Check, holds: Check
) -> Outcome:
    """Raises ``ValueError`` unless both sides have the same figures."""
    if set(without) != set(protected):
        raise ValueError("both sides of a drill count the same things")
    return Outcome(drill, failure, left_out, without, protected, fails(without), holds(protected))
