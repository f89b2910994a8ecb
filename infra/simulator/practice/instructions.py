"""Reads what a prompt asks of the model: habits, limits and fixed phrases, with negation understood."""

import re
from dataclasses import dataclass
from functools import lru_cache

from .lexicon import CUES, Cue, Habit
from .vocabulary import NUMBER_WORDS


@dataclass(frozen=True, slots=True)
class Instructions:
    """What the prompt asks. A habit that is None was not spoken of."""

    cite: bool | None = None
    admit: bool | None = None
    brief: bool | None = None
    json: bool | None = None
    one_question: bool | None = None
    first_only: bool | None = None
    friendly: bool | None = None
    formal: bool | None = None
    match_tone: bool | None = None
    list: bool | None = None
    escalate: bool | None = None
    max_sentences: int | None = None
    max_words: int | None = None
    admission: str | None = None
    contact: str | None = None


_CLAUSE_END = re.compile(
    r"(?<=[.!?])\s+|(?<=[.!?][\"”')\]])\s+|\n+|;|\s+(?:—|–|--|-)\s+|,? but (?:rather )?|,? however,? "
)
_LEAVE_OUT = re.compile(r"\b(leave|leaving|left|keep|keeping) ((?:(?!out\b)[\w'’:\[\]]+ ){1,6})out\b(?! of)")
_CONDITION = re.compile(
    r"^\W*(?:(?:and|so|only|but) )?(?:if|when|whenever|where|wherever|in case|should|unless|even if|once|as|"
    r"since|for)\b"
)
_NEGATOR = re.compile(
    r"\b(?:never|not(?! (?:only|just|more than|longer than))|cannot|no(?! (?:more|longer|matter|later|fewer|"
    r"less|doubt))|neither|avoid\w*|without|omit\w*|"
    r"skip\w*|forget\w*|fail(?:ing)?|hesitate|refrain\w*|resist\w*|refus(?:e|ing)|stop|drop(?! (?:in|a|an)\b)|"
    r"leav(?:e|ing) out|keep(?:ing)? out|"
    r"exclud\w*|rather than|instead of|(?:better|wiser|safer|more honest) \w+ than|(?<!more )(?<!longer )than|"
    r"unless|afraid|shy|ashamed|free (?:of|from)|forbidden|"
    r"prohibited|tempted|nothing)\b|n['’]t\b"
)
_WHATEVER_NOT = re.compile(
    r"\b(?:anything|whatever|what|everything|something|whenever)(?: that)?(?: is|['’]s| are)? ?(?:not|n['’]t)\b"
)
_COMPARISON = re.compile(r"(.*)\b(?:rather than|instead of|than to|than)\s", re.DOTALL)
_AFTER = re.compile(
    r"^[\"”')\]]*\s*(?:\w+\s+){0,4}?(?:is|are|must|should|shall|may|can|need|needs|will|has|have|be)\b[^,;.]*|"
    r"^[^,;.]{0,20}\bout\b(?! of)"
)
_AFTER_NEGATOR = re.compile(
    r"\b(?:not|never|unnecessary|forbidden|prohibited|banned|unwanted|unwelcome|optional|omitted|left out|"
    r"skipped|dropped|discouraged|avoided|"
    r"worse|worthless|(?:an? )?(?:\w+ )?(?:offen[cs]e|mistake|sin|taboo|crime|fraud)|useless|pointless|"
    r"disallowed|out of the question|off[- ]limits|hidden|removed|excluded|"
    r"unacceptable|wrong)\b|n['’]t\b|"
    r"\bno need"
)
_FRESH_START = (
    r"(?:always|please|do|don['’]t|never|instead|just|simply|you|say|tell|then|rather|cite|quote|name|give|mention|admit|keep|answer|reply|"
    r"respond|state|add|include|list|ask|be|make sure|write|use|end|show|refer|point|provide|use|leave|take|avoid)\b"
)
_SCOPE_COMMA = re.compile(
    rf"[,:]\s+(?={_FRESH_START})|\s+then\s+|\s+and\s+(?={_FRESH_START})|,?\s+so\s+(?={_FRESH_START})"
)
_COUNT = "|".join((*sorted(NUMBER_WORDS, key=len, reverse=True), r"\d+", "a", "an"))
_LIMIT = re.compile(
    rf"\b(?P<before>(?:\w+(?:['’]\w*)?[ -]){{0,3}})\b(?P<low>{_COUNT})(?:\s*(?:or|to|-|–)\s*(?P<high>{_COUNT}))?[ -]"
    r"(?:(?:short|simple|brief|single|complete|plain|clear|full) )*(?P<unit>sentences?|words?|lines?|"
    r"paragraphs?)\b(?P<after>(?: or (?:two|three|less|fewer|more))?)"
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\+?\d[\d ()-]{7,}\d")
_QUOTED = re.compile(r"[\"“]([^\"”\n]{8,200})[\"”]|(?<=\s)'([^'\n]*(?:\w'\w[^'\n]*)*)'")


@lru_cache(maxsize=1_024)
def read_instructions(text: str) -> Instructions:
    """Reads instruction text (documents and the customer's question taken out beforehand)."""
    votes: dict[Habit, float] = {}
    admission: str | None = None
    for clause in _CLAUSE_END.split(text.replace("’", "'")):
        lowered = _LEAVE_OUT.sub(r"\1 out \2", clause.strip(" \t-*•#>").lower())
        if not lowered:
            continue
        for cue in CUES:
            for match in cue.pattern.finditer(lowered):
                if _is_void(cue, lowered):
                    continue
                vote = cue.sign * cue.weight * _polarity(cue, lowered, match)
                votes[cue.habit] = votes.get(cue.habit, 0.0) + vote
                if cue.habit is Habit.ADMIT and vote > 0 and admission is None:
                    admission = _quoted_admission(clause)
    habits = {habit.value: votes[habit] > 0 for habit in votes if abs(votes[habit]) > 1e-9}
    contact = _ADDRESS.search(text) if votes.get(Habit.ESCALATE, 0.0) > 0 else None
    max_sentences, max_words, at_least = _limits(text.lower())
    if max_sentences or max_words:
        habits.setdefault("brief", True)
    if at_least:
        habits["brief"] = False
    return Instructions(
        **habits,
        max_sentences=max_sentences,
        max_words=max_words,
        admission=admission,
        contact=contact[0] if contact else None,
    )


def _is_void(cue: Cue, clause: str) -> bool:
    return bool((cue.unlike and cue.unlike.search(clause)) or (cue.only_with and not cue.only_with.search(clause)))


def _polarity(cue: Cue, clause: str, match: re.Match[str]) -> int:
    """+1 or -1: each negating word that governs the match flips it ("do not leave out": twice, so +1)."""
    before = clause[: match.start()]
    start = 0
    for boundary in _SCOPE_COMMA.finditer(clause):
        if boundary.end() <= match.start() and not _lists_alternatives(clause[boundary.end() :], boundary[0]):
            start = boundary.end()
    scope = before[start:]
    if _CONDITION.match(scope):
        comma = scope.find(", ")
        scope = scope[comma + 2 :] if comma >= 0 else " ".join(scope.split()[-2:])
    scope = _WHATEVER_NOT.sub(" ", scope)
    comparison = _COMPARISON.match(scope)
    flips = len(_NEGATOR.findall(scope[comparison.end(1) :] if comparison else scope))
    after = _AFTER.match(clause[match.end() :])
    if after:
        flips += len(_AFTER_NEGATOR.findall(after[0]))
    if (
        cue.habit is Habit.ADMIT
        and flips % 2
        and cue.sign > 0
        and re.search(r"\b(?:unless|except)\b", clause[match.end() :])
    ):
        flips += 1
    return -1 if flips % 2 else 1


def _lists_alternatives(rest: str, boundary: str) -> bool:
    """True for the comma in "never quote, cite or mention": what follows continues a list under one negation."""
    return boundary.startswith(",") and bool(re.match(r"\w+(?: \w+)?(?:, \w+(?: \w+)?)*,? (?:or|nor) ", rest))


def _quoted_admission(clause: str) -> str | None:
    """The exact words that the prompt wants said when the answer is not known."""
    quoted = _QUOTED.search(clause)
    words = (quoted[1] or quoted[2] or "").strip() if quoted else ""
    return words if len(words.split()) >= 3 else None


def _limits(text: str) -> tuple[int | None, int | None, bool]:
    """(most sentences, most words, whether a minimum was asked for)."""
    sentences: int | None = None
    words: int | None = None
    at_least = False
    for match in _LIMIT.finditer(text):
        unit = match["unit"].rstrip("s")
        high = _number(match["high"] or match["low"])
        if match["low"] in ("a", "an") and not match["after"] and "in" not in match["before"].split():
            continue
        extra = re.search(r"two|three|more", match["after"])
        if extra:
            high = _number(extra[0]) if extra[0] != "more" else high
        before = match["before"]
        exceeds = re.search(r"\b(?:at least|minimum(?: of)?|no fewer than|no less than)[ -]$", before)
        above = re.search(r"\b(?:more|longer) than[ -]$", before) and not re.search(
            r"\b(?:no|not|never|n't|exceed)\b|n't|don", text[max(0, match.start() - 40) : match.start("low")]
        )
        if exceeds or above or (extra and extra[0] == "more"):
            at_least = True
        elif re.search(r"\b(?:every|each|per)[ -]$", before):
            continue
        elif unit == "word" and high > 3:
            words = min(words or high, high)
        elif unit in ("sentence", "line"):
            sentences = min(sentences or high, high)
        elif unit == "paragraph":
            sentences = min(sentences or 4 * high, 4 * high)
    return sentences, words, at_least


def _number(word: str) -> int:
    return 1 if word in ("a", "an") else int(NUMBER_WORDS.get(word, word))
