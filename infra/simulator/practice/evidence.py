"""Finds the sentences of the given passages that answer one question, and says whether they answer it at all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from .passages import Passage
from .vocabulary import NUMBER_WORDS, STOPWORDS
from .words import canonical, corrected, raw_words, sentences, stem, term_set, weight

#: Share of a question's weighted terms that a passage must speak of to count as answering it.
ANSWERABLE_AT = 0.6
_IN_TITLE = 0.7
_TITLE_TOO = 0.15
_NEXT_DOOR = 0.75
_SAME_PASSAGE = 0.55
_PRONOUN = re.compile(r"\b(?:it|its|that|this|they|them|those|these|one)\b", re.IGNORECASE)
_KIND = re.compile(
    r"\b(?i:what|which|whose|how)\s+(?!is\b|are\b|do\b|does\b|can\b|will\b|often\b)(?:[A-Z]\w+\s+)?(\w+)"
)
_WORD = re.compile(r"[A-Za-z]{5,}")
_HOW_MANY = re.compile(r"\bhow many\s+(?:more |other |different |extra )?(\w+)", re.IGNORECASE)
_NAME = re.compile(r"(?<=[\w,'] )[A-Z][A-Za-z]+")
_NUMERALS = "|".join(NUMBER_WORDS)
_EXPECTS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(question, re.IGNORECASE), re.compile(answer, re.IGNORECASE))
    for question, answer in (
        (r"\b(?:how long|how soon|how fast|when|how many days|deadline)\b",
         rf"\b(?:\d+|{_NUMERALS})\b.{{0,20}}\b(?:minute|hour|day|week|month|year)s?\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day"
         r"|\b\d{1,2}(?::\d\d)? ?[ap]\.?m|\bimmediately|\binstantly|\bmidnight"),
        (r"\bwhat time|opening hours|\bhours\b.*\bopen", r"\b\d{1,2}(?::\d\d| ?[ap]\.?m)"),
        (r"\bhow often|rhythm|frequency\b", r"\bevery\b|\bonce\b|\bdaily|\bweekly|\bmonthly|\btimes\b"),
        (r"\b(?:how much|cost|price|fee|charge|pay for|expensive|cheap)\b",
         r"[$€£]\s?\d|\b\d+(?:[.,]\d+)?\s?(?:%|percent|eur|usd|gbp|euros?|dollars?|pounds?|cents?)|\bfree\b"),
        (r"\bwhat size|how big|how large|maximum|limit|how heavy|how far\b", r"\d|\bunlimited\b"),
        (r"temperature|cold|warm|hot\b|degrees", r"°|\bdegrees\b"),
        (r"\b(?:share|percentage|percent|accura)", r"\d ?[%°]|percent"),
        (r"\bwhere\b|\b(?:which|what) (?:menu|tab|screen|setting|page)", r" > | → "),
        (r"\bwhere\b", r"\bunder\b|\bin (?:the|your)\b|→|>|\bat \w|\bon (?:the|your)\b|\bgo to\b|\bopen\b"),
        (r"^\W*how (?:do|can|should|to|would|could)\b|\bhow (?:do|can|should) (?:i|we|you)\b|\bhow to\b",
         r"\b(?:go to|open|click|tap|choose|select|press|hold|enter|send|write|log in|use|follow|visit|contact|call"
         r"|turn|under|from)\b"),
    )
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
    part = _WORD.sub(lambda w: w[0] if w[0][0].isupper() else corrected(w[0], words), part)
    asked = _question_terms(part, words)
    if sum(asked.values()) < 1.0 or (len(asked) < 3 and _PRONOUN.search(part)):
        for term, value in _question_terms(around, words).items():
            if any(term in _vocabulary(p).terms for p in passages):
                asked.setdefault(term, value * 0.5)
    if not passages or not asked:
        return Evidence((), 0.0)
    _weigh_names(asked, part, passages)
    rarity = {term: _rarity(term, passages) for term in asked}
    total = sum(asked.values())
    most = sum(value * rarity[term] for term, value in asked.items())
    wanted = [*_counted(part), *(answer for question, answer in _EXPECTS if question.search(part))]
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
                for there, tells, counts in (
                    (here, 1.0, 1.0),
                    (title, _IN_TITLE, 1.0),
                    (near, 0.5, _NEXT_DOOR),
                    (beside, 0.3, _NEXT_DOOR),
                    (spoken, 0.25, _SAME_PASSAGE),
                ):
                    if term in there:
                        score += value * rarity[term] * (tells + _TITLE_TOO * (tells == 1.0 and term in title))
                        covered += value * counts
                        break
            score /= most
            score += 0.22 * sum(_shows(pattern, sentence) for pattern in wanted) / max(1, len(wanted))
            findings.append(Finding(passage, position, sentence, score))
            best = max(best, covered / total)
    findings.sort(key=lambda f: -f.score)
    return Evidence(tuple(findings), best)


@lru_cache(maxsize=4_096)
def _counted(part: str) -> tuple[re.Pattern[str], ...]:
    """For "how many sensors": a number before sensors."""
    nouns = {stem(noun) for noun in _HOW_MANY.findall(part)}
    return tuple(
        re.compile(rf"\b(?:\d+|{_NUMERALS}|unlimited)\W+(?:\w+\W+){{0,2}}{re.escape(noun)}", re.I) for noun in nouns
    )


@lru_cache(maxsize=50_000)
def _shows(expected: re.Pattern[str], sentence: str) -> bool:
    return expected.search(sentence) is not None


def _weigh_names(asked: dict[str, float], part: str, passages: Sequence[Passage]) -> None:
    """A name that most passages bear (the maker's) says little; one that none of them bears says a lot."""
    for name in _NAME.findall(part):
        term = canonical(name)
        if term in asked and len(passages) > 1:
            share = sum(term in _vocabulary(p).terms for p in passages) / len(passages)
            asked[term] *= 1.6 if share == 0 else 0.4 if share >= 0.75 else 1.0


def _rarity(term: str, passages: Sequence[Passage]) -> float:
    """From 1.0 down to 0.4 for a term that every passage speaks of, which tells them apart no more."""
    if len(passages) < 3:
        return 1.0
    share = sum(term in _vocabulary(p).terms for p in passages) / len(passages)
    return 1.0 - 0.6 * share**2


def _question_terms(text: str, vocabulary: frozenset[str]) -> dict[str, float]:
    """Weighted terms of a question, slips corrected against the words of the passages.

    The noun after "which" or "what" names the kind of answer; an answer need not repeat it, so it weighs half.
    """
    kinds = {canonical(noun) for noun in _KIND.findall(text)}
    found: dict[str, float] = {}
    for word in raw_words(text):
        meant = corrected(word, vocabulary)
        if meant in STOPWORDS:
            continue
        term = canonical(meant)
        found[term] = max(found.get(term, 0.0), weight(term) * (0.5 if term in kinds else 1.0))
    return found
