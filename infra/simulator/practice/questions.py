"""Reads the customer's message: what is asked (one thing or several) and what is only said around it."""

import re
from dataclasses import dataclass
from functools import lru_cache

from .words import raw_words, sentences

_QUESTION_WORD = (
    r"(?:how|what|when|where|who|whom|which|why|can|could|do|does|did|is|are|will|would|should|may|must|has|have|am)"
)
_JOIN = re.compile(
    rf"(?:[,;]?\s+(?:and|plus|but)\s+(?:also,?\s+|then,?\s+|secondly,?\s+)?|[,;]\s+(?:also,?\s+)?)(?={_QUESTION_WORD}\b)"
    r"|[,;]?\s+(?:and\s+also|and\s+additionally|as well as)[,:]?\s+(?=\w)|[,;]\s+(?:plus|also)[,:]?\s+(?=\w)",
    re.IGNORECASE,
)
_OPENS_QUESTION = re.compile(
    rf"^(?:\W*(?:and|also|so|but|well|oh|ok|plus|then|second(?:ly)?|first(?:ly)?|finally|next)\W+)*{_QUESTION_WORD}\b",
    re.IGNORECASE,
)
_WH = re.compile(r"\b(?:how|what|when|where|who|which|why)\b", re.IGNORECASE)
_ASKS_INDIRECTLY = re.compile(
    r"\b(?:tell me|let me know|wondering|wonder|want to know|like to know|need to know|question is|explain|know "
    r"(?:how|what|when|if|whether))\b",
    re.IGNORECASE,
)
_HEADED = re.compile(
    r"(?:^|\n)[ \t#*]*(?:(?:the )?(?:customer|user|client)(?:'s)?[ ]?)?(?:question|query|message|asks|request|"
    r"customer|user|q)"
    r"[ \t*]*:[ \t*]*(.+?)(?=\n[ \t#*]*(?:answer|response|reply|your answer|a)[ \t*]*:|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_TAGGED = re.compile(r"<(question|query|user_question|message|customer_message)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_SOCIAL = re.compile(
    r"^\W*(?:hi|hello|hey|how are you|how'?s it going|what'?s up|can you help( me)?( out)?( with (this|that|"
    r"something))?|"
    r"could you help( me)?( with (this|that|something))?|is anyone there|anyone there|right|ok|please|thanks|"
    r"quick question|"
    r"may i ask (you )?(something|a question)|can i ask (you )?(something|a question)|do you (know|have a "
    r"(minute|second|moment)))\b[^a-z]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """`parts` are the things asked, at least one; `around` is said beside it and may name the subject."""

    parts: tuple[str, ...]
    around: str

    @property
    def is_compound(self) -> bool:
        return len(self.parts) > 1


def find_question_text(text: str) -> str:
    """The customer's words in a user message that may carry headings or instructions as well."""
    tagged = _TAGGED.search(text)
    if tagged:
        return tagged[2].strip()
    headed = list(_HEADED.finditer(text))
    if headed:
        return headed[-1][1].strip()
    return text.strip()


@lru_cache(maxsize=8_192)
def read_question(message: str) -> Question:
    """Splits a message into the things it asks; pleasantries ("how are you?") are not asked."""
    message = re.sub(r"\s+", " ", message).strip()
    asked: list[str] = []
    around: list[str] = []
    for sentence in sentences(message):
        if _SOCIAL.match(sentence):
            continue
        is_question = sentence.rstrip("\"') ").endswith("?") or _asks(sentence)
        (asked if is_question else around).append(sentence)
    if not asked:
        return Question((message,), "")
    parts: list[str] = []
    lead: list[str] = []
    for sentence in asked:
        pieces = [p.strip(" ,;") for p in _JOIN.split(sentence)]
        if len(pieces) > 1 and not _asks(pieces[0]) and any(_OPENS_QUESTION.match(p) for p in pieces[1:]):
            lead.append(pieces.pop(0))
        for piece in pieces:
            if _is_substantial(piece) or not parts:
                parts.append(piece)
            else:
                parts[-1] += " " + piece
    if len(parts) > 1 and not _is_substantial(parts[0]):
        lead.append(parts.pop(0))
    return Question(tuple(parts), " ".join(lead or around))


def _asks(text: str) -> bool:
    early = " ".join(text.split()[:6])
    return bool(_OPENS_QUESTION.match(text) or _ASKS_INDIRECTLY.search(text) or _WH.search(early))


def _is_substantial(piece: str) -> bool:
    """A piece asks something of its own when it has a content word and is more than a fragment."""
    return len(raw_words(piece)) >= 1 and len(piece.split()) >= 3
