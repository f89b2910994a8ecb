"""Finds the sentences of the given passages that answer one question, and says whether they answer it at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .passages import Passage
from .words import canonical, corrected, raw_words, sentences, term_set, weight

#: Share of a question's weighted terms that a passage must speak of to count as answering it.
ANSWERABLE_AT = 0.55
_IN_TITLE = 0.7
_NEXT_DOOR = 0.75
_SAME_PASSAGE = 0.55
_PRONOUN = re.compile(r"\b(?:it|its|that|this|they|them|those|these|one)\b", re.IGNORECASE)
_EXPECTS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (re.compile(r"\b(?:how long|how soon|how fast|when|how many days|deadline|what time|hours)\b", re.I),
     re.compile(r"\b(?:\d+|one|two|three|four|five|six|seven|ten|fourteen|thirty)\b.{0,20}\b(?:minute|hour|day|week|month|year)s?\b"
                r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day|\b\d{1,2}(?::\d\d)? ?[ap]\.?m|\bimmediately|\binstantly|\bmidnight", re.I)),
    (re.compile(r"\b(?:how much|cost|price|fee|charge|pay for|expensive|cheap)\b", re.I),
     re.compile(r"[$€£]\s?\d|\b\d+(?:[.,]\d+)?\s?(?:%|percent|eur|usd|gbp|euros?|dollars?|pounds?|cents?)|\bfree\b", re.I)),
    (re.compile(r"\bhow many|what size|how big|how large|maximum|limit|how heavy|how far\b", re.I), re.compile(r"\d|\bunlimited\b")),
    (re.compile(r"\bwhere\b", re.I), re.compile(r"\bunder\b|\bin (?:the|your)\b|→|>|\bat \w|\bon (?:the|your)\b|\bgo to\b|\bopen\b", re.I)),
    (re.compile(r"^\W*how (?:do|can|should|to|would|could)\b|\bhow (?:do|can|should) (?:i|we|you)\b|\bhow to\b", re.I),
     re.compile(r"\b(?:go to|open|click|tap|choose|select|press|hold|enter|send|write|log in|use|follow|visit|contact|call|turn|under|from)\b", re.I)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence and how well it answers: `score` orders findings, and has no unit."""

    passage: Passage
    position: int
    sentence: str
    score: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Findings, best first; `coverage` in [0, 1] is the share of the question that the best one's passage speaks of."""

    findings: tuple[Finding, ...]
    coverage: float

    @property
    def answers(self) -> bool:
        return bool(self.findings) and self.coverage >= ANSWERABLE_AT


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    words: frozenset[str]
    terms: frozenset[str]


@lru_cache(maxsize=2_048)
def _vocabulary(passage: Passage) -> _Vocabulary:
    words = frozenset(raw_words(f"{passage.title}. {passage.text}"))
    return _Vocabulary(words, frozenset(canonical(w) for w in words))


@lru_cache(maxsize=4_096)
def _sentence_terms(passage: Passage) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((s, term_set(s)) for s in sentences(passage.text))


def find_evidence(part: str, around: str, passages: Sequence[Passage]) -> Evidence:
    """Scores every sentence of `passages` for the question `part`.

    `around` (the rest of the message) names the subject when the question itself only says "it".
    Typing slips are read as the nearest word that the passages use.
    """
    words = frozenset().union(*(_vocabulary(p).words for p in passages)) if passages else frozenset()
    asked = _question_terms(part, words)
    if sum(asked.values()) < 1.0 or (len(asked) < 3 and _PRONOUN.search(part)):
        for term, value in _question_terms(around, words).items():
            asked.setdefault(term, value * 0.5)
    total = sum(asked.values())
    if not total or not passages:
        return Evidence((), 0.0)
    wanted = [answer for question, answer in _EXPECTS if question.search(part)]
    findings: list[Finding] = []
    best = 0.0
    for passage in passages:
        title = term_set(passage.title)
        spoken = _vocabulary(passage).terms
        if spoken.isdisjoint(asked):
            continue
        rows = _sentence_terms(passage)
        for position, (sentence, here) in enumerate(rows):
            near = rows[position - 1][1] if position else frozenset()
            beside = rows[position + 1][1] if position + 1 < len(rows) else frozenset()
            score = covered = 0.0
            for term, value in asked.items():
                if term in here:
                    score, covered = score + value, covered + value
                elif term in title:
                    score, covered = score + value * _IN_TITLE, covered + value
                elif term in near:
                    score, covered = score + value * _NEXT_DOOR * 0.7, covered + value * _NEXT_DOOR
                elif term in beside:
                    score, covered = score + value * 0.3, covered + value * _NEXT_DOOR
                elif term in spoken:
                    score, covered = score + value * 0.25, covered + value * _SAME_PASSAGE
            if here.isdisjoint(asked) and not score:
                continue
            score /= total
            score += 0.22 * sum(1 for pattern in wanted if pattern.search(sentence)) / max(1, len(wanted))
            findings.append(Finding(passage, position, sentence, score))
            best = max(best, covered / total)
    findings.sort(key=lambda f: -f.score)
    return Evidence(tuple(findings), best)


def _question_terms(text: str, vocabulary: frozenset[str]) -> dict[str, float]:
    """Weighted terms of a question, slips corrected against the words of the passages."""
    found: dict[str, float] = {}
    for word in raw_words(text):
        term = canonical(corrected(word, vocabulary))
        found[term] = max(found.get(term, 0.0), weight(term))
    return found
