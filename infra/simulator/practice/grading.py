"""Grades one answer: against the reference where there is one, against the documents where there is none.

Grades are in [0, 1]. The rules: contradicted numbers are wrong; unsupported claims are wrong; admitting not to know is
right exactly when the question cannot be answered; a deflection answers nothing; each part of a question counts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .evidence import ANSWERABLE_AT, find_evidence
from .judge_prompt import JudgeTask
from .passages import Passage
from .questions import read_question
from .words import numbers, sentences, term_set, weight

_ADMITS = re.compile(
    r"\b(?:(?:i|we) (?:do not|don't|really don't|honestly don't) (?:know|have (?:\w+ ){0,3}(?:information|"
    r"answer|details?|data))|not sure|unsure|"
    r"(?:can(?:no|')t|could not|couldn't|unable to|am not able to) (?:find|answer|say|tell|help|locate|confirm)|"
    r"(?:do(?:es)? not|don't|doesn't|did not|didn't|is not|isn't|are not|aren't|not) (?:\w+ "
    r"){0,2}(?:answer(?:ed|able)?|cover(?:ed)?|contain(?:ed)?|mention(?:ed)?|say|said|documented|address(?:ed)?|"
    r"specif(?:y|ied)|state[ds]?|provided?|included?|available in|in the (?:articles?|documents?))\b|"
    r"no (?:information|article|mention|answer|details?) |unanswerable|not answerable|cannot be answered|out of "
    r"scope|should (?:admit|say))",
    re.IGNORECASE,
)  # fmt: skip
_DEFLECTS = re.compile(
    r"\b(?:one question at a time|(?:ask|send) (?:\w+ ){0,5}(?:separately|one (?:by one|at a time))|more than "
    r"one question|split your (?:message|question))\b",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"^\W*(?:happy to help|sure(?: thing)?|of course|great question|no problem|thank(?:s| you)|i hope|let me "
    r"(?:know|walk)|please (?:do not hesitate|contact|let)|"
    r"you're welcome|hello|hi\b|here is what|if you have (?:any )?(?:other|more|further)|sorry|feel free)",
    re.IGNORECASE,
)
_CITATION = re.compile(r"\[(?:doc:)?[^\]\n]{1,80}\]|\(source:[^)]*\)", re.IGNORECASE)
_RUDE = re.compile(
    r"\b(?:stupid|obviously|read the manual|not my problem|whatever|dumb|idiot|useless)\b", re.IGNORECASE
)
_WARM = re.compile(r"\b(?:happy to|please|thank|sorry|glad|welcome|sure|of course|hope)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Grades:
    """Each in [0, 1]; `reason` says in a sentence what decided."""

    accuracy: float
    helpfulness: float
    tone: float
    brevity: float
    citing: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Answer:
    claims: tuple[str, ...]
    admits: bool
    deflects: bool
    cites: bool
    words: int


def grade(task: JudgeTask, text: str) -> Grades:
    """Grades `text` as an answer to the task's question."""
    answer = _read(text)
    if task.reference:
        accuracy, helpfulness, reason = _against_reference(answer, task)
    else:
        accuracy, helpfulness, reason = _against_documents(answer, task)
    if (
        answer.claims
        and not answer.cites
        and any(p.citation.startswith("[doc:") for p in task.passages)
        and helpfulness > 0.5
    ):
        helpfulness -= 0.08
    if answer.words > 120:
        helpfulness -= min(0.2, (answer.words - 120) / 600)
    tone = 0.1 if _RUDE.search(text) else 1.0 if _WARM.search(text) else 0.85
    brevity = max(0.0, min(1.0, 1.0 - (answer.words - 60) / 120))
    return Grades(_clip(accuracy), _clip(helpfulness), tone, brevity, 1.0 if answer.cites else 0.0, reason)


def _read(text: str) -> _Answer:
    cites = bool(_CITATION.search(text))
    plain = _CITATION.sub(" ", text)
    claims: list[str] = []
    admits = False
    for sentence in sentences(plain):
        if _ADMITS.search(sentence):
            admits = True
        elif not _FILLER.match(sentence) and not sentence.rstrip().endswith("?") and term_set(sentence):
            claims.append(sentence)
    deflects = bool(_DEFLECTS.search(plain))
    return _Answer(tuple(claims), admits, deflects, cites, len(plain.split()))


def _against_reference(answer: _Answer, task: JudgeTask) -> tuple[float, float, str]:
    reference = _CITATION.sub(" ", task.reference)
    if _ADMITS.search(reference) and not [s for s in sentences(reference) if not _ADMITS.search(s) and numbers(s)]:
        if answer.admits and len(answer.claims) <= 1:
            return 1.0, 1.0, "The question cannot be answered, and the answer says so."
        if answer.deflects:
            return 0.4, 0.2, "The answer deflects a question that it should say it cannot answer."
        return 0.0, 0.05, "The question cannot be answered, but the answer claims to."
    if answer.deflects and len(answer.claims) <= 2:
        return 0.1, 0.05, "The answer deflects instead of answering."
    if answer.admits and not answer.claims:
        return 0.1, 0.05, "The answer says it does not know, though there is an answer."
    said = " ".join(answer.claims)
    wanted = {term: weight(term) for term in term_set(reference) - term_set(task.question)} or {
        t: weight(t) for t in term_set(reference)
    }
    echoed = {term: 0.35 * weight(term) for term in term_set(reference) & term_set(task.question)}
    figures = numbers(reference)
    heavy = {**echoed, **wanted, **dict.fromkeys(figures, 2.0)}
    spoken = term_set(said) | numbers(said)
    recall = sum(v for t, v in heavy.items() if t in spoken) / max(1e-9, sum(heavy.values()))
    accuracy = min(1.0, recall / 0.55)
    if figures and not figures & numbers(said):
        contradicted = bool(numbers(said) - numbers(task.question))
        accuracy = min(accuracy, 0.15 if contradicted else 0.5)
        reason = "Its figures contradict the reference." if contradicted else "It lacks the figures of the reference."
    else:
        reason = f"It covers {recall:.0%} of the weighted content of the reference."
    if task.passages:
        supported = _mean_support(answer.claims, task.passages)
        accuracy = min(accuracy, 0.2 + 0.8 * supported) if supported < 0.6 else accuracy
    return accuracy, min(1.0, 0.15 + 0.85 * accuracy) if accuracy > 0.2 else 0.1, reason


def _against_documents(answer: _Answer, task: JudgeTask) -> tuple[float, float, str]:
    parts = read_question(task.question).parts if task.question else ("",)
    around = read_question(task.question).around if task.question else ""
    if not task.passages:
        return _unsupported_only(answer, task)
    per_part: list[float] = []
    answerable = 0
    for part in parts:
        evidence = find_evidence(part, around, task.passages)
        around = f"{around} {part}"
        if not evidence.findings or evidence.coverage < ANSWERABLE_AT:
            per_part.append(1.0 if answer.admits else 0.0)
            continue
        answerable += 1
        best = [f for f in evidence.findings if f.score >= evidence.findings[0].score * 0.75][:4]
        per_part.append(max((_said(f.sentence, answer.claims) for f in best), default=0.0))
    helpfulness = sum(per_part) / len(per_part)
    support = _mean_support(answer.claims, task.passages) if answer.claims else 1.0
    if answer.deflects:
        return 0.4, 0.05, "The answer deflects; nothing that was asked is answered."
    if not answerable:
        if answer.admits:
            return (
                1.0 if not answer.claims else max(0.5, support),
                1.0,
                "The documents do not answer this, and the answer says so.",
            )
        return min(0.3, support * 0.5), 0.1, "The documents do not answer this, yet the answer claims to."
    if not answer.claims:
        return 0.15, 0.05, "The documents answer this, but the answer does not."
    reason = f"{support:.0%} of its claims are supported; {helpfulness:.0%} of what was asked is answered."
    accuracy = support if len(parts) == 1 else support * (0.6 + 0.4 * helpfulness)
    if len(parts) == 1:
        accuracy *= 0.4 + 0.6 * min(1.0, helpfulness / 0.5)
    return accuracy, min(helpfulness, 0.25 + support), reason


def _unsupported_only(answer: _Answer, task: JudgeTask) -> tuple[float, float, str]:
    """Neither reference nor documents: only relevance to the question can be seen."""
    asked = term_set(task.question)
    if answer.deflects or not answer.claims:
        return 0.5, 0.1, "It gives no answer; there is nothing to check it against."
    relevance = len(asked & term_set(" ".join(answer.claims))) / max(1, len(asked))
    return (
        0.6 + 0.2 * relevance,
        0.5 + 0.5 * relevance,
        "There is nothing to check the answer against; it was read for relevance.",
    )


def _mean_support(claims: Sequence[str], passages: Sequence[Passage]) -> float:
    """Mean over claims of the best support by any passage; 1.0 means that every claim is in the documents."""
    if not claims:
        return 1.0
    return sum(max((_support(claim, p) for p in passages), default=0.0) for claim in claims) / len(claims)


def _support(claim: str, passage: Passage) -> float:
    wanted = term_set(claim)
    figures = numbers(claim)
    best = 0.0
    rows = passage.sentences
    for position, sentence in enumerate(rows):
        window = " ".join((*rows[max(0, position - 1) : position], sentence))
        there = term_set(window) | term_set(passage.title)
        total = sum(weight(t) for t in wanted) or 1.0
        share = sum(weight(t) for t in wanted if t in there) / total
        if figures and not figures <= numbers(window) | numbers(passage.title):
            share *= 0.25
        best = max(best, share)
    return min(1.0, best / 0.75) if best > 0.4 else best * 0.5


def _said(evidence: str, claims: Sequence[str]) -> float:
    """How much of an evidence sentence the claims repeat, mapped so that 60 % is all."""
    wanted = term_set(evidence)
    spoken = term_set(" ".join(claims))
    share = sum(weight(t) for t in wanted if t in spoken) / (sum(weight(t) for t in wanted) or 1.0)
    return min(1.0, share / 0.6) if share > 0.25 else 0.0


def _clip(value: float) -> float:
    return max(0.0, min(1.0, value))
