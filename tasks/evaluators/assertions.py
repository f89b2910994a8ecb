"""Checks of an answer's text that need no model. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.specs.model import Assertion

CITATION = re.compile(r"\[doc:([A-Za-z0-9._-]+)\]")

_NOT = r"(?:not|n['’]t|never|no longer)"
# Ways of saying "I do not know" or "that is not in the articles", in the words that models use for it.
_ADMISSIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bI\s*(?:do\s*{_NOT}|don['’]t|cannot|can['’]t|could\s*{_NOT}|couldn['’]t|am\s+not\s+able\s+to|am\s+unable\s+to)\s+"
        r"(?:\w+\s+){0,3}?(?:know|find|see|have|say|tell|answer|confirm|locate)\b",
        rf"\b(?:do|does|did)\s*{_NOT}\s+(?:\w+\s+){{0,3}}?(?:cover|mention|say|contain|include|answer|address|describe|state)\b",
        rf"\b(?:is|are|was|were)\s*(?:{_NOT}|nowhere)\s+(?:\w+\s+){{0,3}}?(?:covered|mentioned|described|listed|stated|answered|found|in\s+(?:the|our|my))\b",
        r"\bno\s+(?:information|details?|mention|article|answer|record)\b",
        r"\b(?:nothing|not\s+enough|insufficient)\b.{0,40}\b(?:articles?|documents?|help\s+cent(?:re|er)|information|sources?|context)\b",
        r"\bunable\s+to\s+(?:find|answer|say|tell|confirm)\b",
    )
)


@dataclass(frozen=True)
class Check:
    """Whether one assertion holds, and why not."""

    assertion: Assertion
    passed: bool
    reason: str = ""


def admits_not_knowing(answer: str) -> bool:
    """Whether the answer says that it does not know, or that the documents do not say."""
    return any(pattern.search(answer) for pattern in _ADMISSIONS)


def cited(answer: str) -> tuple[str, ...]:
    """The documents that the answer cites, in order, each once."""
    return tuple(dict.fromkeys(CITATION.findall(answer)))


def check(assertion: Assertion, answer: str) -> Check:
    """One assertion held against an answer."""
    value = assertion.value
    said = " ".join(CITATION.sub(" ", answer).split())  # a citation may stand in the middle of a fact
    words = said.split()
    match assertion.type:
        case "contains":
            passed, reason = str(value).lower() in said.lower(), f"does not contain {value!r}"
        case "not_contains":
            passed, reason = str(value).lower() not in said.lower(), f"contains {value!r}"
        case "regex":
            passed, reason = re.search(str(value), answer) is not None, f"does not match {value!r}"
        case "max_words":
            passed, reason = len(words) <= int(value), f"has {len(words)} words, {value} are allowed"
        case "cites":
            sources = cited(answer)
            passed = (str(value) in sources) if value else bool(sources)
            reason = f"does not cite {value}" if value else "cites no document"
        case "refuses":
            passed = admits_not_knowing(answer) == bool(value)
            reason = "does not admit that it does not know" if value else "says that it does not know"
    return Check(assertion, passed, "" if passed else reason)


def check_all(assertions: Sequence[Assertion], answer: str) -> tuple[Check, ...]:
    """All assertions held against an answer, in order."""
    return tuple(check(assertion, answer) for assertion in assertions)


def share_passed(checks: Sequence[Check]) -> float | None:
    """The share that holds, None without any."""
    return sum(one.passed for one in checks) / len(checks) if checks else None
