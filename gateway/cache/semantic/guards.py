"""Token guards: what speaks against serving the answer of a similar question, whatever their vectors say.

An embedding hardly moves when one word of a question changes, and one word is enough to need another answer: a number,
a negation, an opposite, a name. The guards read both questions as words and veto what a reader would not overlook.
"""

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
    OPPOSITES,
    QUESTION_WORDS,
    SAME,
    SAME_NAME,
    SWAPPED,
    SYMBOLS,
    UNCOUNTED,
    UNDOING,
)
from gateway.embedding.lexicon import EMPTY_STEMS
from gateway.embedding.words import stem

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[$£€¥%]")
_NUMBER = re.compile(r"\d")
_IDENTIFIER = re.compile(r"[^\W\d_]+(?:_|(?<=[a-z])(?=[A-Z]))\w*")
_NO_BY_ITSELF = re.compile(r"(?i)(?:^|\boh )no\b(?=[,.!;]|\s*$| thank)")
_SENTENCE_END = frozenset(".!?:;\n")
_LEAST_UNDONE = 6
_LONGEST_GAP = 8
_TOWARDS = frozenset({"to", "into"})
_CAPITAL_ANYWAY = frozenset({"i", "im", "ive", "id", "ill", "asap", "ok"})
_LEAST_PREFIX = 4
_LEAST_MISSPELT = 5
_MOST_REPLACED = 3
_LEAST_TURNED = 4


class _Question(Struct, frozen=True):
    """What the guards look at: words as they stand, content by stem in order, numbers, negators, names."""

    words: tuple[str, ...]
    bag: Mapping[str, int]
    content: tuple[str, ...]
    numbers: frozenset[str]
    negators: int
    asking: frozenset[str]
    names: frozenset[str]
    known: frozenset[str]
    ways: frozenset[tuple[str, str]]


def veto(asked: str, kept: str) -> str:
    """Why the kept question's answer must not be served for the asked one; empty when nothing speaks against it.

    Symmetric, deterministic and pure; texts of the same words are never vetoed. Reasons: ``numbers``, ``negation``,
    ``antonyms``, ``question_word``, ``entity``, ``word_order``, ``substituted_word``; the first that holds is named.
    """
    if asked == kept:
        return ""
    one, other = _read(asked), _read(kept)
    if one.words == other.words:
        return ""
    for reason, differ in _GUARDS:
        if differ(one, other):
            return reason
    return ""


@lru_cache(maxsize=2048)
def _read(text: str) -> _Question:
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    found = [(match.group(), match.start()) for match in _TOKEN.finditer(plain)]
    words = tuple([_word(token) for token, _ in found])
    stems = [_stem(word) for word in words]
    empty = [word in EMPTY_STEMS for word in stems]
    bag: dict[str, int] = {}
    for word in words:
        bag[word] = bag.get(word, 0) + 1
    return _Question(
        words=words,
        bag=bag,
        content=tuple([word for word, says_nothing in zip(stems, empty, strict=True) if not says_nothing]),
        numbers=frozenset([_number(word) for word in words if _counts(word)]),
        negators=_count_negators(plain, words),
        asking=_asked_for(words),
        names=_names(plain, found, words),
        known=frozenset(words).union(stems),
        ways=_ways(words, empty),
    )


@lru_cache(maxsize=20_000)
def _word(token: str) -> str:
    """Lower case, without apostrophes, possessives and the like; currencies by one name."""
    low = token.casefold()
    low = SYMBOLS.get(low, low)
    if low.endswith("'s"):
        low = low[:-2]
    low = low.replace("'", "")
    return SAME_NAME.get(low, low)


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
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


def _numbers_differ(one: _Question, other: _Question) -> bool:
    return one.numbers != other.numbers


def _negations_differ(one: _Question, other: _Question) -> bool:
    return one.negators != other.negators


def _opposites_differ(one: _Question, other: _Question) -> bool:
    """A word of one has an opposite in the other, and neither word is matched by itself."""
    left = {form for word in _more(one.bag, other.bag) for form in (word, _stem(word))}
    right = {form for word in _more(other.bag, one.bag) for form in (word, _stem(word))}
    return any(not OPPOSITES.get(word, _NOTHING).isdisjoint(right) for word in left) or _undone(left, right)


def _more(bag: Mapping[str, int], than: Mapping[str, int]) -> list[str]:
    """Words that one question has more often."""
    return [word for word, count in bag.items() if count > than.get(word, 0)]


_NOTHING: frozenset[str] = frozenset()


def _undone(left: set[str], right: set[str]) -> bool:
    """valid and invalid, lock and unlock: a word of one is a word of the other behind a prefix that undoes it."""
    return any(
        word[len(prefix) :] in shorter
        for shorter, longer in ((left, right), (right, left))
        for word in longer
        if len(word) >= _LEAST_UNDONE and word.startswith(UNDOING)
        for prefix in UNDOING
        if word.startswith(prefix)
    )


def _asking_differs(one: _Question, other: _Question) -> bool:
    """Both ask for something particular and have nothing of it in common, or only the question word was replaced."""
    if one.asking and other.asking and one.asking.isdisjoint(other.asking):
        return True
    (mine, theirs) = _replaced(one.words, other.words)
    return len(mine) == len(theirs) == 1 and {mine[0], theirs[0]} <= QUESTION_WORDS and one.asking != other.asking


def _names_differ(one: _Question, other: _Question) -> bool:
    """A name of one is not even a word of the other."""
    return bool(_missing(one, other) or _missing(other, one))


def _missing(one: _Question, other: _Question) -> frozenset[str]:
    return frozenset(name for name in one.names if name not in other.known and _stem(name) not in other.known)


def _order_differs(one: _Question, other: _Question) -> bool:
    """The very same words in another order, unless one clause only moved to the front; or A to B became B to A."""
    if one.bag == other.bag and one.content != other.content and not _turned(one.content, other.content):
        return True
    return not one.ways.isdisjoint((after, before) for before, after in other.ways)


def _turned(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether ``other`` is ``one`` with its first part moved behind its second; too short a text may be anything."""
    if len(one) < _LEAST_TURNED:
        return False
    return any(tuple(one[cut:]) + tuple(one[:cut]) == tuple(other) for cut in range(1, len(one)))


def _ways(words: Sequence[str], empty: Sequence[bool]) -> frozenset[tuple[str, str]]:
    """What stands around each to: (A, B) of A to B, of from A to B, and of to B from A."""
    found = set()
    for at in range(1, len(words) - 1):
        if words[at] in _TOWARDS and not empty[at - 1] and not empty[at + 1]:
            found.add((words[at - 1], words[at + 1]))
        if words[at] == "from" and at > 1 and words[at - 2] in _TOWARDS and not empty[at - 1] and not empty[at + 1]:
            found.add((words[at + 1], words[at - 1]))
    return frozenset(found)


def _word_was_substituted(one: _Question, other: _Question) -> bool:
    """Nothing differs but one place, which they say with other words; misspelling or inflecting is not different."""
    mine, theirs = _replaced(one.words, other.words)
    if not 0 < len(mine) <= _MOST_REPLACED or not 0 < len(theirs) <= _MOST_REPLACED:
        return False
    if len(mine) == len(theirs) == 1 and theirs[0] in SWAPPED.get(mine[0], _NOTHING):
        return True
    left, right = ([word for word in map(_stem, part) if word not in EMPTY_STEMS] for part in (mine, theirs))
    left, right = [word for word in left if word not in right], [word for word in right if word not in left]
    return bool(left and right) and not (len(left) == len(right) == 1 and _alike(left[0], right[0]))


def _replaced(one: Sequence[str], other: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What is left of both without the words they begin and end with alike."""
    shorter = min(len(one), len(other))
    start = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    end = next((i for i in range(shorter - start) if one[-1 - i] != other[-1 - i]), shorter - start)
    return one[start : len(one) - end], other[start : len(other) - end]


def _alike(one: str, other: str) -> bool:
    if min(len(one), len(other)) >= _LEAST_PREFIX and (one.startswith(other) or other.startswith(one)):
        return True
    if not SAME.get(one, _NOBODY).isdisjoint(SAME.get(other, _NOBODY)):
        return True
    return min(len(one), len(other)) >= _LEAST_MISSPELT and one[0] == other[0] and _one_slip(one, other)


_NOBODY: frozenset[int] = frozenset()


def _one_slip(one: str, other: str) -> bool:
    """One letter too many, too few or wrong, or two neighbours exchanged."""
    mine, theirs = _replaced(one, other)
    if max(len(mine), len(theirs)) <= 1:
        return True
    return len(mine) == 2 and len(theirs) == 2 and mine[0] == theirs[1] and mine[1] == theirs[0]


_GUARDS = (
    ("numbers", _numbers_differ),
    ("negation", _negations_differ),
    ("antonyms", _opposites_differ),
    ("question_word", _asking_differs),
    ("entity", _names_differ),
    ("word_order", _order_differs),
    ("substituted_word", _word_was_substituted),
)
