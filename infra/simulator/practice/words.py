"""From text to terms: sentences, stems and synonym groups, numbers, and typo-tolerant matching."""

import hashlib
import re
from functools import lru_cache

from .vocabulary import GENERAL, NUMBER_WORDS, PHRASES, STOPWORDS, SYNONYMS

_WORD = re.compile(r"[a-z0-9]+(?:['’][a-z]+)?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9“])|\n+")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|approx|no|vs|mr|mrs|ms|dr)\.$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_PHRASES = tuple((re.compile(pattern, re.IGNORECASE), word) for pattern, word in PHRASES)
_SUFFIXES = ("ations", "ation", "ements", "ement", "ments", "ment", "ings", "ing", "edly", "ed", "ly")


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """A crude English stem: equal for the inflections of one word, not itself a word."""
    word = word.lower().replace("’", "'").split("'")[0]
    if len(word) <= 3 or word.isdigit():
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


_GROUPS: dict[str, str] = {stem(word): "=" + group.split()[0] for group in SYNONYMS for word in group.split()}
_GENERAL = frozenset(_GROUPS.get(stem(word), stem(word)) for word in GENERAL)
_SYNONYM_WORDS = frozenset(word for group in SYNONYMS for word in group.split())
_FAMILIAR = STOPWORDS | GENERAL | _SYNONYM_WORDS
_COMMON: dict[str, tuple[str, ...]] = {
    letter: tuple(sorted(w for w in _FAMILIAR if len(w) >= 5 and w[0] == letter))
    for letter in {w[0] for w in _FAMILIAR}
}
KNOWN_WORDS = frozenset(_GROUPS) | {stem(w) for w in GENERAL}


@lru_cache(maxsize=50_000)
def canonical(word: str) -> str:
    """The term of a word: its number as digits, its synonym group (``=refund``), or its stem."""
    lowered = word.lower()
    if lowered in NUMBER_WORDS:
        return NUMBER_WORDS[lowered]
    base = stem(lowered)
    return _GROUPS.get(base, base)


@lru_cache(maxsize=20_000)
def raw_words(text: str) -> tuple[str, ...]:
    """Lower-case content words of a text in order, phrases of several words already joined."""
    text = text.lower().replace("’", "'")
    for pattern, word in _PHRASES:
        text = pattern.sub(word, text)
    return tuple(w for w in _WORD.findall(text) if w not in STOPWORDS and (len(w) > 1 or w.isdigit()))


@lru_cache(maxsize=20_000)
def terms(text: str) -> tuple[str, ...]:
    """Distinct terms of a text, in order of first appearance."""
    return tuple(dict.fromkeys(canonical(w) for w in raw_words(text)))


@lru_cache(maxsize=20_000)
def term_set(text: str) -> frozenset[str]:
    """The terms of a text as a set."""
    return frozenset(terms(text))


@lru_cache(maxsize=20_000)
def numbers(text: str) -> frozenset[str]:
    """Every number in a text as digits; number words count (``two`` is ``2``)."""
    found = {n.strip(".,:") for n in _NUMBER.findall(text)}
    found.update(NUMBER_WORDS[w] for w in re.findall(r"[a-z]+", text.lower()) if w in NUMBER_WORDS and w != "one")
    return frozenset(n.replace(",", "") for n in found)


@lru_cache(maxsize=20_000)
def sentences(text: str) -> tuple[str, ...]:
    """Sentences of a text, trimmed; a line break ends one, bullets are stripped."""
    found: list[str] = []
    for piece in _SENTENCE_END.split(text):
        piece = piece.strip().lstrip("-*•").strip()
        if not piece:
            continue
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return tuple(found)


def weight(term: str) -> float:
    """How much a term counts when texts are compared: general words weigh a third."""
    return 0.33 if term in _GENERAL else 1.0


@lru_cache(maxsize=50_000)
def is_near(typed: str, meant: str) -> bool:
    """True when `typed` is plausibly a slip of the finger for `meant`.

    Five letters: a letter left out or two swapped; six and more: any one edit; nine and more: two. Short words and
    words with digits are taken as they stand, because other words are too near to them; so are other endings.
    """
    if len(typed) < 5 or typed[0] != meant[0] or abs(len(typed) - len(meant)) > 2 or any(map(str.isdigit, typed)):
        return False
    if typed[:-1] == meant[:-1] or typed in meant or meant in typed:
        return False
    distance = slip(typed, meant)
    if distance == 1:
        return len(typed) >= 6 or len(meant) == len(typed) + 1 or sorted(typed) == sorted(meant)
    return distance == 2 and min(len(typed), len(meant)) >= 9


def slip(typed: str, meant: str) -> int:
    """Edits between two words, a plural's "s" on one side not counted."""
    return min(_edits(typed, meant), _edits(typed.removesuffix("s"), meant.removesuffix("s")))


@lru_cache(maxsize=50_000)
def corrected(word: str, vocabulary: frozenset[str]) -> str:
    """The word that was probably meant: of the vocabulary, else of the words that everybody uses, else itself."""
    if len(word) < 5 or word in vocabulary or word in _FAMILIAR or stem(word) in KNOWN_WORDS:
        return word
    for choices in (vocabulary, _COMMON.get(word[0], ())):
        near = [w for w in choices if w[0] == word[0] and -3 < len(w) - len(word) < 3 and is_near(word, w)]
        if near:
            return min(near, key=lambda w: (slip(word, w), w))
    return word


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone: the practice model's only source of chance."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _edits(a: str, b: str) -> int:
    """Optimal string alignment distance (a transposition counts as one edit)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, ca in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, cb in enumerate(b, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (ca != cb))
            if i > 1 and j > 1 and ca == b[j - 2] and a[i - 2] == cb:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]
