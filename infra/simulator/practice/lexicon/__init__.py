"""What instructions look like: for each habit, the wordings that speak for it (+1) or against it (-1).

A cue says nothing about negation; `instructions` counts the negating words around it ("never guess", "do not leave
out the source") and flips the sign for each. To teach a new wording, add a pattern and a row to its table test.
"""

from .cue import Cue, Habit
from .form import FORM_CUES
from .grounding import GROUNDING_CUES

CUES: tuple[Cue, ...] = GROUNDING_CUES + FORM_CUES

__all__ = ["CUES", "Cue", "Habit"]
