"""Checks of an answer's text that need no model. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.specs.model import Assertion

CITATION = re.compile(r"\[doc:([A-Za-z0-9._-]+)\]")

_SOURCE = (
    r"(?:articles?|documents?|documentation|docs|help\s+cent(?:re|er)|knowledge\s+base|sources?|context|passages?|"
    r"information|material)"
)
_NOT = r"(?:\s+not|n['’]t)"
_I_CANNOT = (
    rf"\bI(?:\s+(?:\w+ly|just))?(?:(?:\s+do|\s+did|\s+could){_NOT}|\s+can\s?not|\s+can['’]t|"
    r"(?:\s+am|['’]m|\s+was)\s+(?:not\s+able|unable)\s+to)"
)
_ANY = r"(?:(?:any|enough|that|this|the|specific|further|more|such|sufficient|exact|an)\s+){0,3}"
_FACTS = r"(?:information|details?|answers?|mention|records?|articles?|documents?|documentation|data|knowledge)"
_COVER = (
    r"(?:cover|mention|say|contain|include|answer|address|describe|state|specify|provide|explain|tell|list|discuss|"
    r"give|have)"
)
_COVERED = (
    r"(?:covered|mentioned|described|listed|stated|answered|found|documented|addressed|specified|explained|included|"
    r"discussed|in)"
)
# Ways of saying "I do not know" or "the articles do not say", as models word them. That the *product* does not include
# or cover something is an answer: a negation alone is no admission, its subject must be the speaker or the sources.
_ADMISSIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{_I_CANNOT}\s+(?:\w+\s+){{0,3}}?(?:know|find|say|tell|answer|confirm|locate)\b",
        rf"{_I_CANNOT}\s+(?:have\s+{_ANY}{_FACTS}|see\b[^.!?]{{0,40}}\b(?:{_SOURCE}|mention|anything))\b",
        rf"\bwe\s+do{_NOT}\s+(?:know|have\s+{_ANY}{_FACTS})\b",
        r"\bI(?:\s+am|['’]m)\s+(?:not\s+(?:sure|certain|aware)|unsure|uncertain)\b",
        rf"\bI\s+have\s+no\s+(?:\w+\s+)?(?:idea|way\s+of|{_FACTS})\b",
        r"(?:^|[.!?]\s+)(?:sorry,?\s+)?(?:unable\s+to\s+(?:find|answer|say|tell|confirm|locate)|don['’]t\s+know)\b",
        rf"\b{_SOURCE}\b[^.!?]{{0,60}}?\bdo(?:es)?{_NOT}\s+(?:\w+\s+){{0,2}}?{_COVER}\b",
        rf"\b{_SOURCE}\s+(?:\w+\s+){{0,3}}?(?:is|are)\s+silent\b",
        rf"\b(?:is|are|was|were)(?:{_NOT}|\s+nowhere)\s+(?:\w+\s+){{0,2}}?{_COVERED}\b[^.!?]{{0,40}}\b{_SOURCE}\b",
        rf"\b(?:can\s?not|can['’]t|could{_NOT})\s+be\s+(?:found|answered|determined|confirmed)\b",
        rf"\b(?:none\s+of|no|neither\s+of)\s+(?:\w+\s+){{0,3}}?{_SOURCE}\b[^.!?]{{0,60}}?\b{_COVER}(?:s|es|ed)?\b",
        rf"\b(?:there\s+is|there['’]s|have|has|contains?|provides?|gives?|found|offers?)\s+no\s+(?:\w+\s+)?{_FACTS}\b",
        rf"\b(?:nothing|nowhere)\b[^.!?]{{0,40}}\b{_SOURCE}\b",
        r"\b(?:not\s+enough|insufficient)\s+(?:\w+\s+)?(?:information|details?|context)\b",
        rf"\b(?:beyond|outside)\s+(?:of\s+)?(?:the\s+scope\s+of\s+|what\s+)?(?:the|these|my|our)\s+(?:\w+\s+){{0,2}}?{_SOURCE}\b",
        rf"\bnot\s+(?:something|anything)\b[^.!?]{{0,30}}\b{_SOURCE}\b",
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
