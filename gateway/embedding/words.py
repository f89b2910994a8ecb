"""From text to stems: what the lexical embedder counts. Pure, for English, harmless for other languages."""

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CONTRACTIONS = re.compile(r"'(?:s|re|ve|ll|d|m)$")
_VOWELS = frozenset("aeiouy")

_IRREGULAR: Mapping[str, str] = MappingProxyType(
    {
        "paid": "pay",
        "used": "use",
        "using": "use",
        "usage": "use",
        "bought": "buy",
        "broke": "break",
        "broken": "break",
        "sent": "send",
        "lost": "lose",
        "went": "go",
        "gone": "go",
        "got": "get",
        "gotten": "get",
        "forgot": "forget",
        "forgotten": "forget",
        "chose": "choose",
        "chosen": "choose",
        "kept": "keep",
        "left": "leave",
        "spent": "spend",
        "stolen": "steal",
        "stole": "steal",
        "wrote": "write",
        "written": "write",
        "taken": "take",
        "took": "take",
        "given": "give",
        "gave": "give",
        "made": "make",
        "men": "man",
        "women": "woman",
        "people": "person",
        "children": "child",
    }
)
# (suffix, what replaces it, least length of what remains); the first that fits is applied, as in Porter's first steps.
_SUFFIXES: tuple[tuple[str, str, int], ...] = (
    ("scriptions", "scrib", 2),
    ("scription", "scrib", 2),
    ("ations", "", 4),
    ("ation", "", 4),
    ("ments", "", 4),
    ("ment", "", 4),
    ("nesses", "", 4),
    ("ness", "", 4),
    ("ingly", "", 4),
    ("edly", "", 4),
    ("ings", "", 3),
    ("ing", "", 3),
    ("ies", "y", 2),
    ("ied", "y", 2),
    ("sses", "ss", 2),
    ("shes", "sh", 2),
    ("ches", "ch", 2),
    ("xes", "x", 2),
    ("ed", "", 3),
    ("ly", "", 4),
)


def words(text: str) -> list[str]:
    """Lower-case words without accents and possessives, in order of appearance; numbers are words."""
    folded = unicodedata.normalize("NFKD", text.replace("\u2019", "'")).casefold()
    plain = "".join(c for c in folded if not unicodedata.combining(c))
    return [_CONTRACTIONS.sub("", word).replace("'", "") for word in _WORD.findall(plain)]


def stem(word: str) -> str:
    """A rough stem, after the first steps of Porter (1980): inflections of a word share it, most of the time."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.isalpha():
        return word
    for suffix, replacement, least in _SUFFIXES:
        base = word[: -len(suffix)]
        if word.endswith(suffix) and len(base) >= least and _VOWELS.intersection(base):
            return _tidy(base + replacement)
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return _tidy(word)


def _tidy(base: str) -> str:
    """cancell → cancel, shipp → ship, delivery → deliver, invoice → invoic: both spellings of a stem meet."""
    if len(base) > 4 and base.endswith("y"):
        base = base[:-1]
    if len(base) > 3 and base.endswith("e"):
        base = base[:-1]
    if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "aeiosz":
        base = base[:-1]
    return base
