"""Finds the passages (documents) in a prompt and leaves the rest: instructions and question.

Understood forms: ``[doc:id] Title`` blocks, ``<document id="..">..</document>`` and its relatives, ``Source: name`` /
``Document 3: name`` / ``[1] Title`` blocks, and plain paragraphs under a heading such as ``Context:`` or
in ``<context>``.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from .words import sentences


@dataclass(frozen=True, slots=True)
class Passage:
    """One document as the prompt shows it; `citation` is how an answer names it, e.g. ``[doc:returns-policy]``."""

    citation: str
    title: str
    text: str

    @property
    def sentences(self) -> tuple[str, ...]:
        return sentences(self.text)


@dataclass(frozen=True, slots=True)
class Parts:
    """A text split into its passages and what remains around them."""

    passages: tuple[Passage, ...]
    remainder: str


_TAGS = "document|doc|article|source|passage|chunk|snippet|item"
_TAGGED = re.compile(rf"<(?P<tag>{_TAGS})\b(?P<attributes>[^>]*)>(?P<body>.*?)</(?P=tag)>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*[\"']([^\"']*)[\"']")
_INNER = re.compile(r"<(title|source|name|id)>(.*?)</\1>", re.DOTALL | re.IGNORECASE)
_ANY_TAG = re.compile(r"</?[a-z_][\w-]*[^>]*>", re.IGNORECASE)
_DOC_HEAD = re.compile(r"^[ \t]*\[doc:(?P<id>[^\]\n]+)\][ \t]*(?P<title>[^\n]*)$", re.MULTILINE)
_NAMED_HEAD = re.compile(
    r"^[ \t#*]*(?:(?P<kind>source|document|doc|article|passage|file|excerpt|title)[ \t]*(?:#?\d+)?[ \t]*:[ "
    r"\t*]*(?P<name>\S[^\n]*)"
    r"|\[(?P<number>\d+)\][ \t]*(?P<title>[^\n]*))$",
    re.MULTILINE | re.IGNORECASE,
)
_CONTEXT_TAG = re.compile(
    r"<(?P<tag>context|documents|articles|sources|knowledge(?:[_-]?base)?|information|material)>(?P<body>.*?)</(?P=tag)>",
    re.DOTALL | re.IGNORECASE,
)
_CONTEXT_HEAD = re.compile(
    r"^[ \t#*=-]*(?:(?:the |help |our |relevant |retrieved |reference |given |provided |support )*"
    r"(?:context|documents|documentation|articles?|sources|knowledge(?: base)?|information|material|passages|"
    r"excerpts|faq|facts))"
    r"[ \t*=-]*(?::[ \t*]*|$)",
    re.MULTILINE | re.IGNORECASE,
)
_AFTER_CONTEXT = re.compile(
    r"^[ \t]*(?:[#*=-]+[ \t]*)?(?:question|customer(?:'s)?(?: question| message)?|user(?: question)?|query|"
    r"instructions?|rules?|guidelines?|"
    r"task|reminders?|remember|answer|your answer|reply|response|message|important)\b[^\n:]{0,20}:"
    r"|^[ \t]*(?:-{3,}|={3,}|\*{3,})[ \t]*$"
    r"|^</?[a-z_]+>"
    r"|^(?:now |please |then )*(?:answer|reply|respond|write your|use only|cite|remember|keep your|do not use|"
    r"never|always)\b[^\n]*"
    r"\b(?:question|answers?|reply|replies|above|articles?|documents?|sources?|customers?|context|sentences?)\b",
    re.MULTILINE | re.IGNORECASE,
)


_LAST_QUESTION = re.compile(r"(?<=\n\n)[^\n]+\?\s*\Z")


@lru_cache(maxsize=4_096)
def split_passages(text: str) -> Parts:
    """Passages of `text` in the most explicit form that it uses, and the text without them."""
    for read in (_read_tagged, _read_doc_blocks, _read_named_blocks, _read_paragraphs):
        parts = read(text)
        if parts.passages:
            return parts
    return Parts((), text)


def _read_doc_blocks(text: str) -> Parts:
    heads = list(_DOC_HEAD.finditer(text))
    return _blocks(text, [(h, f"[doc:{h['id'].strip()}]", h["title"].strip()) for h in heads])


def _read_named_blocks(text: str) -> Parts:
    heads = []
    for head in _NAMED_HEAD.finditer(text):
        name = (head["name"] or head["title"] or "").strip(" *")
        citation = f"[{head['number']}]" if head["number"] else f"[{name}]"
        heads.append((head, citation, name))
    if heads and heads[0][0]["number"] and len(heads) < 2:
        return Parts((), text)
    return _blocks(text, heads)


def _blocks(text: str, heads: list[tuple[re.Match[str], str, str]]) -> Parts:
    """Each head owns the text up to the next; what follows the last one's text is given back to the remainder."""
    if not heads:
        return Parts((), text)
    passages, tail = [], ""
    for index, (head, citation, title) in enumerate(heads):
        body = text[head.end() : heads[index + 1][0].start() if index + 1 < len(heads) else len(text)]
        if index == len(heads) - 1:
            body, tail = _cut_tail(body)
        body = _ANY_TAG.sub(" ", body).strip()
        passages.append(Passage(citation, title, body or title))
    return Parts(tuple(passages), text[: heads[0][0].start()] + "\n\n" + tail)


def _read_tagged(text: str) -> Parts:
    passages = []
    for number, match in enumerate(_TAGGED.finditer(text), 1):
        named = {k.lower(): v for k, v in _ATTRIBUTE.findall(match["attributes"])}
        named |= {k.lower(): v.strip() for k, v in _INNER.findall(match["body"])}
        identity = named.get("id") or named.get("source") or named.get("name") or named.get("index") or str(number)
        body = _ANY_TAG.sub(" ", _INNER.sub(" ", match["body"])).strip()
        citation = identity if identity.startswith("[") else f"[doc:{identity.removeprefix('doc:')}]"
        if body:
            passages.append(Passage(citation, named.get("title", ""), body))
    return Parts(tuple(passages), _ANY_TAG.sub(" ", _TAGGED.sub("\n\n", text)) if passages else text)


def _read_paragraphs(text: str) -> Parts:
    inside = _CONTEXT_TAG.search(text)
    if inside:
        body, rest = inside["body"], text[: inside.start()] + "\n\n" + text[inside.end() :]
    else:
        heads = [h for h in _CONTEXT_HEAD.finditer(text) if h[0].strip()]
        if not heads:
            return Parts((), text)
        body, tail = _cut_tail(text[heads[0].end() :])
        rest = text[: heads[0].start()] + "\n\n" + tail
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", body) if p.strip()]
    return Parts(tuple(Passage(f"[{n}]", "", _ANY_TAG.sub(" ", p)) for n, p in enumerate(paragraphs, 1)), rest)


def _cut_tail(body: str) -> tuple[str, str]:
    """The last passage's own text, and the instructions or question that follow it."""
    end = _AFTER_CONTEXT.search(body) or _LAST_QUESTION.search(body)
    return (body[: end.start()], body[end.start() :]) if end else (body, "")
