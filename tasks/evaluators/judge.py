"""A model as judge: the question it is asked and how its verdict is read. Pure.

The judge version names wording and criteria: it is part of every cache key and every stored score, so that scores of
different judges are never mixed.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.types import Message

_SYSTEM = """You judge answers of a support assistant. Rate the answer on each criterion from 1 (worst) to 5 (best).
{basis}
An answer that admits not knowing is right when the question cannot be answered, and wrong when it can.
An answer that leaves out a part of the question is incomplete.
Length and style do not matter unless a criterion says so.
Reply with JSON only: {{{keys}, "reason": "<one sentence>"}}"""

_WITH_REFERENCE = "Compare it with the reference answer: what contradicts the reference is wrong."
_WITH_DOCUMENTS = "Hold it against the documents: what they do not support is wrong."

_BRACE = re.compile(r"\{")
_DECODER = json.JSONDecoder()

_MEANINGS = {
    "accuracy": "accuracy: every statement is right",
    "helpfulness": "helpfulness: it answers what was asked, completely",
    "tone": "tone: it is polite and professional",
}


@dataclass(frozen=True)
class Judgement:
    """``score`` in [0, 1]: the mean of the criteria, mapped from 1–5; None when the verdict cannot be read."""

    score: float | None
    criteria: Mapping[str, float]
    reason: str = ""


def judge_version(model: str, criteria: Sequence[str], pack: int = 1) -> str:
    """Twelve hex digits that change with the model, the criteria, the wording, or how many answers it sees at once."""
    wording = "\n".join((model, *criteria, _SYSTEM, _WITH_REFERENCE, _WITH_DOCUMENTS, *_MEANINGS.values()))
    if pack > 1:
        wording += f"\n{pack} at once"
    return hashlib.sha256(wording.encode()).hexdigest()[:12]


def judge_messages(
    *, question: str, answer: str, criteria: Sequence[str], reference: str = "", documents: str = ""
) -> tuple[Message, ...]:
    """The judge's prompt: against the reference where there is one, else against the documents."""
    meanings = "\n".join(f"- {_MEANINGS.get(name, name)}" for name in criteria)
    basis = f"{_WITH_REFERENCE if reference else _WITH_DOCUMENTS}\nCriteria:\n{meanings}"
    keys = ", ".join(f'"{name}": <1-5>' for name in criteria)
    ground = f"## Reference answer\n{reference}" if reference else f"## Documents\n{documents or '(none)'}"
    content = f"## Question\n{question}\n\n{ground}\n\n## Answer\n{answer}"
    return (
        {"role": "system", "content": _SYSTEM.format(basis=basis, keys=keys)},
        {"role": "user", "content": content},
    )


def read_judgement(text: str, criteria: Sequence[str]) -> Judgement:
    """The verdict in a judge's reply. A reply without a number for every criterion is no verdict."""
    verdict = first_json_object(text)
    if verdict is None:
        return Judgement(None, {}, "the judge did not reply with JSON")
    scores: dict[str, float] = {}
    for name in criteria:
        value = verdict.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 5:
            return Judgement(None, {}, f"the judge gave no rating from 1 to 5 for {name}")
        scores[name] = (value - 1) / 4
    reason = verdict.get("reason")
    return Judgement(sum(scores.values()) / len(scores), scores, reason if isinstance(reason, str) else "")


def first_json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, whatever stands around it, braces included."""
    for match in _BRACE.finditer(text):
        try:
            value, _ = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        return dict(value)
    return None
