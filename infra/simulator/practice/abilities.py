"""What a model can do, by its name.

The names are those of real models, so that swapping the simulator for real keys changes no prompt spec; the
abilities are made up, only their order is meant: large > mid > small. A name that is not known is a mid model.
"""

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Ability:
    """Chances in [0, 1] of each kind of slip, per question; `slowness` multiplies the default latency."""

    tier: str
    slowness: float
    misses_later_parts: float
    drops_citation: float
    guesses_when_untold: float
    picks_second_best: float
    judging_noise: float


LARGE = Ability("large", 1.6, 0.0, 0.0, 0.25, 0.0, 0.0)
MID = Ability("mid", 1.0, 0.02, 0.01, 0.5, 0.0, 0.02)
SMALL = Ability("small", 0.6, 0.4, 0.2, 0.75, 0.12, 0.08)

_BY_NAME: tuple[tuple[re.Pattern[str], Ability], ...] = (
    (re.compile(r"nano|tiny|lite|8b|3b|1b"), SMALL),
    (re.compile(r"mini|haiku|flash|small|3\.5-turbo"), MID),
    (re.compile(r"^(?:gpt-4|gpt-5|o[1-9]|chatgpt)|sonnet|opus|large|pro\b"), LARGE),
)

#: What ``GET /v1/models`` lists, with its owner.
LISTED_MODELS: tuple[tuple[str, str], ...] = (
    ("gpt-5", "openai"),
    ("gpt-4.1", "openai"),
    ("gpt-4.1-mini", "openai"),
    ("gpt-4.1-nano", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("claude-haiku-4-5", "anthropic"),
    ("text-embedding-3-small", "openai"),
    ("text-embedding-3-large", "openai"),
)


@lru_cache(maxsize=1_024)
def ability_of(model: str) -> Ability:
    """The ability of a model name, e.g. ``gpt-4.1-mini`` or ``openai/gpt-4.1-mini``."""
    name = model.rsplit("/", 1)[-1].lower()
    return next((ability for pattern, ability in _BY_NAME if pattern.search(name)), MID)
