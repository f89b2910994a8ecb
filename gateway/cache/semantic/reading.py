"""A question as the token guards read it: its words, and what of them counts. Pure, and remembered."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from gateway.cache.semantic.english import (
    ASKING,
    ASKING_HOW,
    NAMES,
    NEGATORS,
    NUMBER_WORDS,
    SAME_NAME,
    SYMBOLS,
    UNCOUNTED,
)
from gateway.embedding.lexicon import EMPTY_STEMS
from gateway.embedding.words import stem

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[$£€¥%]")
_NUMBER = re.compile(r"\d")
_PRICE = re.compile(r"([$£€¥])\s?(\d+(?:[.,]\d+)*)")
_IDENTIFIER = re.compile(r"(?<!\w)[^\W\d_]+(?:_|(?<=[a-z])(?=[A-Z]))\w*")
_NO_BY_ITSELF = re.compile(r"(?i)(?:^|\boh )no\b(?=[,.!;]|\s*$| thank)")
_SENTENCE_END = frozenset(".!?:;\n")
_LONGEST_GAP = 8
_TOWARDS = frozenset({"to", "into"})
_ADDRESSED = re.compile(
    r"\s*(?:hi|hello|hey|dear|greetings|(?:good )?(?:morning|afternoon|evening|day))\b(?: [^\W\d_]+){0,3}\s?[,!:\n]",
    re.IGNORECASE,
)
_SIGNED = re.compile(
    r"(?<=[.!?\n])\s*"
    r"(?:(?:(?:many )?thanks|thank you)[,!.]?|(?:(?:kind|best|warm) regards|best wishes|best|cheers|sincerely),)"
    r"\s+[^\W\d_]+(?: [^\W\d_]+)?[.!]?\s*$",
    re.IGNORECASE,
)
_CAPITAL_ANYWAY = frozenset({"i", "im", "ive", "id", "ill", "asap", "ok"})


class Reading(Struct, frozen=True):
    """``words`` are in lower case, numbers and currencies in one form each; ``bag`` counts them.

    ``content``: the words that say something, in order. ``asking``: the particular things that question words ask for.
    ``names`` are in lower case; ``known`` are all words and their stems. ``ways``: what stands around each to.
    """

    words: tuple[str, ...]
    bag: Mapping[str, int]
    content: tuple[str, ...]
    numbers: frozenset[str]
    negators: int
    asking: frozenset[str]
    names: frozenset[str]
    known: frozenset[str]
    ways: frozenset[tuple[str, str]]


@lru_cache(maxsize=2048)
def read(text: str) -> Reading:
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    plain = _PRICE.sub(r"\2 \1 ", _without_courtesies(plain))
    found = [(match.group(), match.start()) for match in _TOKEN.finditer(plain)]
    said = [_word(token) for token, _ in found]
    counted = [_counts(word) for word in said]
    words = tuple([_number(word) if counts else word for word, counts in zip(said, counted, strict=True)])
    stems = [stem_of(word) for word in words]
    empty = [word in EMPTY_STEMS for word in stems]
    bag: dict[str, int] = {}
    for word in words:
        bag[word] = bag.get(word, 0) + 1
    return Reading(
        words=words,
        bag=bag,
        content=tuple([word for word, says_nothing in zip(stems, empty, strict=True) if not says_nothing]),
        numbers=frozenset([word for word, counts in zip(words, counted, strict=True) if counts]),
        negators=_count_negators(plain, words),
        asking=_asked_for(words),
        names=_names(plain, found, words),
        known=frozenset(words).union(stems),
        ways=_ways(words, empty),
    )


def _without_courtesies(plain: str) -> str:
    """Who is greeted at the start and who signs at the end are no part of the question."""
    addressed = _ADDRESSED.match(plain)
    rest = _SIGNED.sub("", plain[addressed.end() :] if addressed else plain)
    return rest if rest.strip() else plain


@lru_cache(maxsize=20_000)
def _word(token: str) -> str:
    """Lower case, without apostrophes, possessives and the like; currencies by one name."""
    low = token.casefold()
    low = SYMBOLS.get(low, low)
    if low.endswith("'s"):
        low = low[:-2]
    plain = low.replace("'", "")
    if low.endswith("n't") and plain not in NEGATORS:
        return "not"
    return SAME_NAME.get(plain, plain)


@lru_cache(maxsize=20_000)
def stem_of(word: str) -> str:
    return stem(word)


def _counts(word: str) -> bool:
    return bool(_NUMBER.match(word)) or (word in NUMBER_WORDS and word not in UNCOUNTED)


def _number(word: str) -> str:
    """10, 10.00 and ten are the same; 1,000 is 1000."""
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    digits = re.sub(r",(?=\d{3}(?!\d))", "", word)
    whole, dot, rest = digits.partition(".")
    if rest.isdecimal() and not rest.strip("0"):
        digits, dot = whole, ""
    return digits if dot or not digits.isdecimal() else str(int(digits))


def _count_negators(plain: str, words: Sequence[str]) -> int:
    """Not counted: whether or not, and a no that stands by itself (oh no, no thanks)."""
    found = sum([word in NEGATORS for word in words])
    if not found:
        return 0
    return found - len(_NO_BY_ITSELF.findall(plain)) - sum(pair == ("or", "not") for pair in pairwise(words))


def _asked_for(words: Sequence[str]) -> frozenset[str]:
    """The particular things that question words ask for."""
    found = {ASKING[word] for word in words if word in ASKING}
    found.update(ASKING_HOW[after] for word, after in pairwise(words) if word == "how" and after in ASKING_HOW)
    return frozenset(found)


def _names(plain: str, found: Sequence[tuple[str, int]], words: Sequence[str]) -> frozenset[str]:
    """Days, months and currencies, words with a capital inside a sentence, and identifiers, in lower case.

    Where capitals are everywhere (titles, shouting) they say nothing.
    """
    names = {word for word in words if word in NAMES}
    if plain != plain.lower():
        inside = [at for at, (token, start) in enumerate(found) if token[0].isalpha() and not _opens(plain, start)]
        capital = [at for at in inside if found[at][0][0].isupper() and words[at] not in _CAPITAL_ANYWAY]
        if 2 * len(capital) <= len(inside):
            names.update([words[at] for at in capital])
    names.update(part.casefold() for match in _IDENTIFIER.finditer(plain) for part in _TOKEN.findall(match.group()))
    return frozenset([name for name in names if name not in EMPTY_STEMS and not _counts(name)])


def _opens(plain: str, start: int) -> bool:
    """Whether a word there opens a sentence."""
    before = plain[max(0, start - 8) : start].rstrip(" \"'`([*|-\t")
    return before[-1:] in _SENTENCE_END if before else start < _LONGEST_GAP


def _ways(words: Sequence[str], empty: Sequence[bool]) -> frozenset[tuple[str, str]]:
    """What stands around each to: (A, B) of A to B, of from A to B, and of to B from A."""
    found = set()
    for at in range(1, len(words) - 1):
        if words[at] in _TOWARDS and not empty[at - 1] and not empty[at + 1]:
            found.add((words[at - 1], words[at + 1]))
        if words[at] == "from" and at > 1 and words[at - 2] in _TOWARDS and not empty[at - 1] and not empty[at + 1]:
            found.add((words[at + 1], words[at - 1]))
    return frozenset(found)
