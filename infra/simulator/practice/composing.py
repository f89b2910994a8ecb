"""Composes the answer: evidence for each thing asked, in the manner that the instructions ask for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .abilities import Ability
from .dice import Dice
from .evidence import Evidence, Finding, find_evidence
from .instructions import Instructions
from .passages import Passage
from .phrases import (
    ADMISSIONS,
    CLOSING,
    DEFLECTIONS,
    ESCALATION,
    GREETINGS,
    INTRODUCTION,
    PARTIAL_ADMISSIONS,
    invent,
    is_casual,
)
from .questions import Question

#: How near to the best a sentence of another passage must come to be said as well.
_OTHER_PASSAGE = 0.9


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer before its outer form: `text` carries its citations; `known` is False when it admits not to know."""

    text: str
    citations: tuple[str, ...]
    known: bool


@dataclass(slots=True)
class _Piece:
    """The answer to one part: sentences with the passage each is taken from (None: nobody's)."""

    lines: list[tuple[str, Passage | None]]
    known: bool = True


def compose(
    message: str, question: Question, passages: Sequence[Passage], asked: Instructions, ability: Ability, dice: Dice
) -> Draft:
    """Answers `question` from `passages` as the instructions `asked` say and the `ability` allows."""
    if question.is_compound and asked.one_question:
        return Draft(dice.pick("deflection", DEFLECTIONS), (), False)
    parts = question.parts[:1] if asked.first_only else question.parts
    pieces: list[_Piece] = []
    around = question.around
    for number, part in enumerate(parts):
        if number and dice.slips(f"miss part {number}", ability.misses_later_parts):
            continue
        evidence = find_evidence(part, around, passages)
        pieces.append(
            _answer_part(part, evidence, asked, ability, dice, per_part=_sentences_per_part(asked, len(parts)))
        )
        around = f"{around} {part}"
    pieces = _say_unknown_once(pieces, asked, dice)
    if asked.max_words:
        _shorten(pieces, asked.max_words)
    cites = bool(asked.cite) and not dice.slips("drop citation", ability.drops_citation)
    body, citations = _render(pieces, cites)
    return Draft(_in_manner(body, message, asked, dice), citations, any(p.known for p in pieces))


def _answer_part(
    part: str, evidence: Evidence, asked: Instructions, ability: Ability, dice: Dice, per_part: int
) -> _Piece:
    if evidence.answers:
        findings = evidence.findings
        if len(findings) > 1 and dice.slips("second best", ability.picks_second_best):
            findings = findings[1:]
        return _Piece([(_finished(f.sentence), f.passage) for f in _select(findings, per_part, asked)])
    invents = asked.admit is False or (asked.admit is None and dice.slips(f"guess {part}", ability.guesses_when_untold))
    if invents:
        nearest = evidence.findings[0].passage if evidence.findings else None
        return _Piece([(invent(part, dice), nearest)])
    return _Piece([], known=False)


def _select(findings: Sequence[Finding], count: int, asked: Instructions) -> list[Finding]:
    """The best sentence, and further ones while they are nearly as good, back in reading order."""
    best = findings[0]
    needed = 0.8 if asked.brief else 0.35 if asked.brief is False else 0.6
    chosen = [best]
    for finding in findings[1:]:
        if len(chosen) >= count:
            break
        beside = needed if finding.passage == best.passage else max(needed, _OTHER_PASSAGE)
        if finding.score >= best.score * beside:
            chosen.append(finding)
    order = {id(f.passage): i for i, f in reversed(list(enumerate(chosen)))}
    return sorted(chosen, key=lambda f: (order[id(f.passage)], f.position))


def _sentences_per_part(asked: Instructions, parts: int) -> int:
    wanted = 2 if asked.brief else 5 if asked.brief is False else 3
    if asked.max_sentences:
        wanted = min(wanted, max(1, asked.max_sentences // parts))
    return wanted


def _say_unknown_once(pieces: list[_Piece], asked: Instructions, dice: Dice) -> list[_Piece]:
    """One admission for all that is not known, after what is known."""
    known = [p for p in pieces if p.known]
    if len(known) == len(pieces):
        return known
    words = asked.admission or dice.pick("admission", PARTIAL_ADMISSIONS if known else ADMISSIONS)
    lines: list[tuple[str, Passage | None]] = [(_finished(words), None)]
    if asked.contact and asked.contact not in words:
        lines.append((f"Please contact {asked.contact}.", None))
    elif asked.escalate and "support" not in words.lower():
        lines.append((ESCALATION, None))
    return [*known, _Piece(lines, known=False)]


def _shorten(pieces: list[_Piece], max_words: int) -> None:
    """Drops last sentences first, then cuts the longest sentence at a comma, until the words fit."""

    def count() -> int:
        return sum(len(line.split()) for piece in pieces for line, _ in piece.lines)

    while count() > max_words:
        longest = max(pieces, key=lambda p: len(p.lines))
        if len(longest.lines) > 1:
            longest.lines.pop()
            continue
        piece = max(pieces, key=lambda p: len(p.lines[0][0].split()))
        line, passage = piece.lines[0]
        words = line.split()
        keep = max(3, len(words) - (count() - max_words))
        shorter = " ".join(words[:keep])
        comma = max(shorter.rfind(", "), shorter.rfind("; "))
        piece.lines[0] = (
            _finished((shorter[:comma] if comma > len(shorter) // 2 else shorter).rstrip(",;:(")),
            passage,
        )
        if keep == 3:
            break


def _render(pieces: Sequence[_Piece], cites: bool) -> tuple[str, tuple[str, ...]]:
    """The pieces as text, each run of sentences from one passage followed by its citation."""
    said: list[str] = []
    citations: dict[str, None] = {}
    lines = list(dict.fromkeys(line for piece in pieces for line in piece.lines))
    for position, (line, passage) in enumerate(lines):
        said.append(line)
        following = lines[position + 1][1] if position + 1 < len(lines) else None
        if passage is not None and passage != following:
            citations[passage.citation] = None
            if cites:
                said.append(passage.citation)
    return " ".join(said), tuple(citations)


def _in_manner(body: str, message: str, asked: Instructions, dice: Dice) -> str:
    if asked.list:
        body = "\n".join(f"- {line}" for line in re.split(r"(?<=[.!?\]]) (?=[A-Z])", body))
    if asked.brief is False:
        return f"{INTRODUCTION} {body}\n\n{CLOSING}"
    manner = "formal" if asked.formal else "friendly" if asked.friendly else None
    if asked.match_tone:
        manner = "casual" if is_casual(message) else manner
    room = not asked.max_sentences and not asked.max_words
    return f"{dice.pick('greeting', GREETINGS[manner])} {body}" if manner and room else body


def _finished(sentence: str) -> str:
    sentence = sentence.strip()
    return sentence if sentence.endswith((".", "!", "?", ":", ".”", '."')) else sentence + "."
