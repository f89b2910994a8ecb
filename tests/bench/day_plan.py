"""A day of a help desk, drawn from the golden questions: what is asked when, in whose words. Pure and seeded.

What people need is Zipf-distributed over the golden questions. How they say it: in the golden question's words (a
suggestion that they click, a heading that they paste), in another wording of the same need that comes with the sample
(``traffic.jsonl``: paraphrases and typos), or in a letter of their own around one of these. A letter is hardly ever
written twice, so it is what an exact cache cannot answer.
"""

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.traffic.plan import popularity
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import Assertion

CONTENT = Path(__file__).parents[2] / "deployments" / "prompts" / "help-centre"
_GREETINGS = ("Hello,", "Hi there,", "Good morning,", "Dear support,", "Hi Rimewatch team,", "Evening,", "Hey,")
_REASONS = (
    "",
    "We are a small bakery.",
    "I am new here.",
    "We run a butcher shop.",
    "Just checking before our audit.",
    "I look after three cafés.",
    "Quick one from a busy kitchen.",
    "My manager asked me today.",
    "I could not find this anywhere.",
)
_CLOSINGS = ("", "Thanks!", "Thank you.", "Many thanks, Joris", "Kind regards, Lena", "Cheers.", "Best, Amira")


@dataclass(frozen=True)
class Need:
    """What somebody wants to know, in its ready wordings, the golden one first; an answer is right by ``checks``."""

    wordings: tuple[str, ...]
    checks: tuple[Assertion, ...]


@dataclass(frozen=True)
class DayPlan:
    """``zipf``: exponent of the needs' popularity. Shares are of all askings; the rest is in the golden words."""

    calls: int
    seed: int = 1
    zipf: float = 0.9
    other_words: float = 0.25
    letters: float = 0.25


@dataclass(frozen=True)
class Asking:
    """One call of the day."""

    text: str
    need: Need


def needs(golden: Sequence[GoldenItem], traffic: Sequence[Mapping[str, object]]) -> list[Need]:
    """One a golden item; rows of the traffic that come from the same document and expect the same are its wordings."""
    others: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for row in traffic:
        documents, expected = row["documents"], row["expect"]
        assert isinstance(documents, list)
        assert isinstance(expected, list)
        if row["kind"] in ("plain", "paraphrase", "typo") and len(documents) == 1:
            others[documents[0], *expected].append(str(row["question"]))
    found = []
    for item in golden:
        told = [str(one.value) for one in item.assertions if one.type == "contains"]
        same = others.get((*item.documents, *told), []) if len(item.documents) == 1 else []
        found.append(Need((item.variables["question"], *same), tuple(item.assertions)))
    return found


def read_traffic(path: Path = CONTENT / "traffic.jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def askings(plan: DayPlan, known: Sequence[Need], *, popular_by: int = 0) -> list[Asking]:
    """The same plan asks the same. ``popular_by`` seeds which needs are popular: days of one business agree on it."""
    order = list(known)
    random.Random(popular_by).shuffle(order)
    draw = random.Random(plan.seed)
    weights = list(itertools.accumulate(popularity(len(order), plan.zipf)))
    return [_ask(draw, draw.choices(order, cum_weights=weights)[0], plan) for _ in range(plan.calls)]


def _ask(draw: random.Random, need: Need, plan: DayPlan) -> Asking:
    golden, *others = need.wordings
    how = draw.random()
    if how < plan.letters:
        words = draw.choice(need.wordings)
        parts = (draw.choice(_GREETINGS), draw.choice(_REASONS), words, draw.choice(_CLOSINGS))
        return Asking(" ".join(part for part in parts if part), need)
    if how < plan.letters + plan.other_words and others:
        return Asking(draw.choice(others), need)
    return Asking(golden, need)
