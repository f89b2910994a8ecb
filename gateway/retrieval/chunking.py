"""Cutting a markdown text into chunks that fit a prompt. Pure; nothing but white space between chunks is lost."""

import re
from collections.abc import Iterable, Iterator

VERSION = 1
"""Raise it with every change that moves a cut: it is part of a document's digest."""

MAX_WORDS = 180
MAX_CHARACTERS = 2_000

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_HEADING = re.compile(r"#{1,6}\s")
_SEPARATORS = ("\n\n", "\n", " ", " ", "")  # between paragraphs, lines, sentences, words, characters


def chunk(text: str, max_words: int = MAX_WORDS, max_characters: int = MAX_CHARACTERS) -> tuple[str, ...]:
    """Chunks of whole paragraphs, each of at most ``max_words`` words and ``max_characters`` characters.

    A paragraph that is too long is cut between lines, else between sentences, else between words, else anywhere.
    A heading stays with the paragraph after it. White space alone gives no chunk.
    """
    if max_words < 1 or max_characters < 1:
        raise ValueError("a chunk needs room for at least one word and one character")
    whole = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return tuple(_cut(whole, 0, max_words, max_characters)) if whole else ()


def _cut(text: str, level: int, max_words: int, max_characters: int) -> Iterator[str]:
    """The text itself when it fits, else its parts, as many together as fit."""
    if len(text) <= max_characters and len(text.split()) <= max_words:
        yield text
        return
    if level == len(_SEPARATORS) - 1:
        yield from (text[start : start + max_characters] for start in range(0, len(text), max_characters))
        return
    pieces = (p for part in _parts(text, level) for p in _cut(part, level + 1, max_words, max_characters))
    yield from _joined(pieces, _SEPARATORS[level], max_words, max_characters)


def _parts(text: str, level: int) -> Iterable[str]:
    if level == 0:
        return _blocks(text)
    if level == 3:
        return text.split()
    parts = text.split("\n") if level == 1 else _SENTENCE_END.split(text)
    return (part.strip() for part in parts if part.strip())


def _joined(pieces: Iterable[str], separator: str, max_words: int, max_characters: int) -> Iterator[str]:
    run: list[str] = []
    words = characters = 0
    for piece in pieces:
        more_words, more_characters = len(piece.split()), len(piece) + len(separator)
        if run and (words + more_words > max_words or characters + more_characters > max_characters):
            yield separator.join(run)
            run, words, characters = [], 0, 0
        run.append(piece)
        words += more_words
        characters += more_characters if len(run) > 1 else len(piece)
    if run:
        yield separator.join(run)


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; headings are held back and lead the paragraph that follows."""
    headings: list[str] = []
    for paragraph in _BLANK_LINES.split(text):
        paragraph = paragraph.strip()
        if not paragraph:
            continue
        if _HEADING.match(paragraph) and "\n" not in paragraph:
            headings.append(paragraph)
            continue
        yield "\n\n".join([*headings, paragraph])
        headings.clear()
    if headings:
        yield "\n\n".join(headings)
