"""Checks of an answer that need no model: of its text, and of what it cost and how long it took. Pure."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.evaluators.base import Answered, Score
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
    """Whether one assertion holds, and why not. None: what it asks about was not measured, which is no failure."""

    assertion: Assertion
    passed: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of an answer beside its text; None where nobody knows."""

    cost_usd: float | None = None
    latency_ms: float | None = None


UNKNOWN = Facts()


def admits_not_knowing(answer: str) -> bool:
    """Whether the answer says that it does not know, or that the documents do not say."""
    return any(pattern.search(answer) for pattern in _ADMISSIONS)


def cited(answer: str) -> tuple[str, ...]:
    """The documents that the answer cites, in order, each once."""
    return tuple(dict.fromkeys(CITATION.findall(answer)))


def check(assertion: Assertion, answer: str, facts: Facts = UNKNOWN) -> Check:
    """One assertion held against an answer."""
    value = assertion.value
    said = " ".join(CITATION.sub(" ", answer).split())  # a citation may stand in the middle of a fact
    words = len(said.split())
    passed: bool | None
    match assertion.type:
        case "contains":
            passed, reason = str(value).lower() in said.lower(), f"does not contain {value!r}"
        case "not_contains":
            passed, reason = str(value).lower() not in said.lower(), f"contains {value!r}"
        case "regex":
            passed, reason = re.search(str(value), answer) is not None, f"does not match {value!r}"
        case "json_schema":
            reason = _schema_problem(answer, value)
            passed = not reason
        case "min_words":
            passed, reason = words >= _number(value), f"has {words} words, {value} are the least"
        case "max_words":
            passed, reason = words <= _number(value), f"has {words} words, {value} are allowed"
        case "max_chars":
            passed, reason = len(answer) <= _number(value), f"has {len(answer)} characters, {value} are allowed"
        case "cites":
            sources = cited(answer)
            passed = (str(value) in sources) if value else bool(sources)
            reason = f"does not cite {value}" if value else "cites no document"
        case "refuses":
            passed = admits_not_knowing(answer) == bool(value)
            reason = "does not admit that it does not know" if value else "says that it does not know"
        case "max_cost_usd":
            passed, reason = _ceiling(facts.cost_usd, value, "its cost", "$", "")
        case "max_latency_ms":
            passed, reason = _ceiling(facts.latency_ms, value, "its latency", "", " ms")
    return Check(assertion, passed, "" if passed else reason)


def check_all(assertions: Sequence[Assertion], answer: str, facts: Facts = UNKNOWN) -> tuple[Check, ...]:
    """All assertions held against an answer, in order."""
    return tuple(check(assertion, answer, facts) for assertion in assertions)


def share_passed(checks: Sequence[Check]) -> float | None:
    """The share that holds of those that were measured, None without any."""
    known = [one.passed for one in checks if one.passed is not None]
    return sum(known) / len(known) if known else None


class Assertions:
    """An Evaluator: the share that holds of the gate's common assertions and the item's own."""

    name = "assertions"
    version = "2"

    def __init__(self, common: Sequence[Assertion]) -> None:
        self._common = tuple(common)

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        found = []
        for one in answers:
            checks = check_all((*self._common, *one.assertions), one.answer, Facts(one.cost_usd, one.latency_ms))
            broken = "; ".join(check.reason for check in checks if not check.passed)
            unknown = any(check.passed is None for check in checks)
            found.append(Score(None if unknown else share_passed(checks), broken, failed=unknown))
        return found


def _number(value: Any) -> float:
    return float(value)


def _ceiling(known: float | None, most: Any, what: str, before: str, after: str) -> tuple[bool | None, str]:
    if known is None:
        return None, f"{what} is not known"
    return known <= _number(most), f"{what} is {before}{known:.6g}{after}, {before}{most}{after} is allowed"


def _schema_problem(answer: str, schema: Any) -> str:
    """Why the answer, all of it, is not JSON of this schema; empty when it is."""
    try:
        content = json.loads(answer)
    except (ValueError, RecursionError):
        return "is not JSON"
    from jsonschema import Draft202012Validator  # 60 ms, and few prompts have one
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        # An own registry: the default one would fetch what '$ref' names from the network.
        found = next(Draft202012Validator(schema, registry=Registry()).iter_errors(content), None)
    except (Unresolvable, RecursionError) as error:
        return f"the schema cannot be followed: {error}"
    return f"does not fit the schema at {found.json_path}: {found.message[:200]}" if found else ""
