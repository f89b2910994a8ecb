"""Habits that a prompt can ask for, and the shape of a cue: a wording that speaks of one."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Habit(StrEnum):
    """What a prompt can ask of the practice model."""

    CITE = "cite"
    ADMIT = "admit"
    BRIEF = "brief"
    JSON = "json"
    ONE_QUESTION = "one_question"
    FIRST_ONLY = "first_only"
    FRIENDLY = "friendly"
    FORMAL = "formal"
    MATCH_TONE = "match_tone"
    LIST = "list"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class Cue:
    """A wording: `sign` is +1 for the habit and -1 against it, `weight` settles contradictions, `unlike` voids it."""

    habit: Habit
    pattern: re.Pattern[str]
    sign: int
    weight: float
    unlike: re.Pattern[str] | None
    only_with: re.Pattern[str] | None


def cue(
    habit: Habit,
    sign: int,
    pattern: str,
    *,
    weight: float = 1.0,
    unlike: str | None = None,
    only_with: str | None = None,
) -> Cue:
    """Compiles a cue; every pattern is matched against one clause in lower case."""
    return Cue(
        habit,
        re.compile(pattern),
        sign,
        weight,
        re.compile(unlike) if unlike else None,
        re.compile(only_with) if only_with else None,
    )
