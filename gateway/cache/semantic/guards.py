"""Token guards: what speaks against serving the answer of a similar question, whatever their vectors say.

An embedding hardly moves when one word of a question changes, and one word is enough to need another answer: a number,
a negation, an opposite, a name. The guards read both questions as words and veto what a reader would not overlook.
"""

from collections.abc import Mapping, Sequence

from gateway.cache.semantic.english import OPPOSITES, QUESTION_WORDS, SAME, SWAPPED, UNDOING
from gateway.cache.semantic.reading import Reading, read, stem_of
from gateway.embedding.lexicon import EMPTY_STEMS

OF_THE_WORDING = frozenset({"substituted_word", "word_order"})
"""Reasons that speak against one wording. All others speak against its answer, whatever question it is kept for."""

_LEAST_UNDONE = 6
_LEAST_PREFIX = 4
_LEAST_MISSPELT = 5
_MOST_REPLACED = 3
_LEAST_TURNED = 4


def veto(asked: str, kept: str) -> str:
    """Why the kept question's answer must not be served for the asked one; empty when nothing speaks against it.

    Symmetric, deterministic and pure; texts of the same words are never vetoed. Reasons: ``numbers``, ``negation``,
    ``antonyms``, ``question_word``, ``entity``, ``word_order``, ``substituted_word``; the first that holds is named.
    """
    if asked == kept:
        return ""
    one, other = read(asked), read(kept)
    if one.words == other.words:
        return ""
    for reason, differ in _GUARDS:
        if differ(one, other):
            return reason
    return ""


def _numbers_differ(one: Reading, other: Reading) -> bool:
    return one.numbers != other.numbers


def _negations_differ(one: Reading, other: Reading) -> bool:
    return one.negators != other.negators


def _opposites_differ(one: Reading, other: Reading) -> bool:
    """A word of one has an opposite in the other, and neither word is matched by itself."""
    left = {form for word in _more(one.bag, other.bag) for form in (word, stem_of(word))}
    right = {form for word in _more(other.bag, one.bag) for form in (word, stem_of(word))}
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


def _asking_differs(one: Reading, other: Reading) -> bool:
    """Both ask for something particular and have nothing of it in common, or only the question word was replaced."""
    if one.asking and other.asking and one.asking.isdisjoint(other.asking):
        return True
    (mine, theirs) = _replaced(one.words, other.words)
    return len(mine) == len(theirs) == 1 and {mine[0], theirs[0]} <= QUESTION_WORDS and one.asking != other.asking


def _names_differ(one: Reading, other: Reading) -> bool:
    """A name of one is not even a word of the other."""
    return bool(_missing(one, other) or _missing(other, one))


def _missing(one: Reading, other: Reading) -> frozenset[str]:
    return frozenset(name for name in one.names if name not in other.known and stem_of(name) not in other.known)


def _order_differs(one: Reading, other: Reading) -> bool:
    """The very same words in another order, unless one clause only moved to the front; or A to B became B to A."""
    if one.bag == other.bag and one.content != other.content and not _turned(one.content, other.content):
        return True
    return not one.ways.isdisjoint((after, before) for before, after in other.ways)


def _turned(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether ``other`` is ``one`` with its first part moved behind its second; too short a text may be anything."""
    if len(one) < _LEAST_TURNED:
        return False
    return any(tuple(one[cut:]) + tuple(one[:cut]) == tuple(other) for cut in range(1, len(one)))


def _word_was_substituted(one: Reading, other: Reading) -> bool:
    """Nothing differs but one place, which they say with other words; misspelling or inflecting is not different."""
    mine, theirs = _replaced(one.words, other.words)
    if not 0 < len(mine) <= _MOST_REPLACED or not 0 < len(theirs) <= _MOST_REPLACED:
        return False
    if len(mine) == len(theirs) == 1 and theirs[0] in SWAPPED.get(mine[0], _NOTHING):
        return True
    left, right = ([word for word in map(stem_of, part) if word not in EMPTY_STEMS] for part in (mine, theirs))
    left, right = [word for word in left if word not in right], [word for word in right if word not in left]
    if len(mine) == len(theirs) == 1 and bool(left) != bool(right):
        return True
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
