"""Which of two answers is better: a judge is asked in both orders, and a verdict that flips with the order is a tie.

Judges prefer the answer that stands first, or second, more often than they should (Zheng et al., "Judging LLM-as-a-
Judge with MT-Bench and Chatbot Arena", 2023, section 3.4): only what survives the swap is a preference. Pure.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.types import Message
from tasks.evaluators.base import Answered, Score
from tasks.evaluators.judge import first_json_object

_SYSTEM = """You compare two answers of a support assistant to the same question. Which answer is better?
{basis}
An answer that admits not knowing is right when the question cannot be answered, and wrong when it can.
The order of the answers means nothing. If neither is better, it is a tie.
Reply with JSON only: {{"winner": "A" or "B" or "tie", "reason": "<one sentence>"}}"""
_WITH_REFERENCE = "Compare them with the reference answer: what contradicts the reference is wrong."
_WITH_DOCUMENTS = "Hold them against the documents: what they do not support is wrong."
_WITH_NOTHING = "Judge how well each does what was asked."


class Winner(StrEnum):
    A = "A"
    B = "B"
    TIE = "tie"


@dataclass(frozen=True)
class Asked:
    """One comparison in one order."""

    messages: tuple[Message, ...]
    repeat: int


@dataclass(frozen=True)
class Preference:
    """``share`` is 1 where the first answer won in both orders, 0 where the second did, else 0.5; None: unreadable."""

    share: float | None
    flipped: bool
    reason: str = ""


Ask = Callable[[Sequence[Asked]], list[str]]
"""The judge's replies in order; an empty text where there is none."""


def pairwise_version(model: str) -> str:
    """Twelve hex digits that change with the model and the wording."""
    wording = "\n".join((model, _SYSTEM, _WITH_REFERENCE, _WITH_DOCUMENTS, _WITH_NOTHING))
    return hashlib.sha256(wording.encode()).hexdigest()[:12]


def pair_messages(
    question: str, answer_a: str, answer_b: str, reference: str = "", documents: str = ""
) -> tuple[Message, ...]:
    """The judge's prompt for one order: against the reference, or the documents, or the question alone."""
    basis = _WITH_REFERENCE if reference else _WITH_DOCUMENTS if documents else _WITH_NOTHING
    ground = f"## Reference answer\n{reference}\n\n" if reference else f"## Documents\n{documents}\n\n"
    shown = f"## Question\n{question}\n\n{ground if reference or documents else ''}"
    return (
        {"role": "system", "content": _SYSTEM.format(basis=basis)},
        {"role": "user", "content": f"{shown}## Answer A\n{answer_a}\n\n## Answer B\n{answer_b}"},
    )


def read_winner(text: str) -> tuple[Winner, str] | None:
    """The winner and why; None for a reply that names none."""
    verdict = first_json_object(text)
    said = verdict.get("winner") if verdict else None
    if not isinstance(said, str):
        return None
    plain = re.sub(r"(?i)^\s*answer\s+", "", said).strip().lower()
    for winner in Winner:
        if plain == winner.value.lower():
            reason = verdict.get("reason") if verdict else ""
            return winner, reason if isinstance(reason, str) else ""
    return None


def join_orders(there: str, back: str) -> Preference:
    """The preference from the replies to (first, second) and to (second, first)."""
    one, other = read_winner(there), read_winner(back)
    if one is None or other is None:
        return Preference(None, False, "the judge did not name a winner")
    swapped = {Winner.A: Winner.B, Winner.B: Winner.A, Winner.TIE: Winner.TIE}[other[0]]
    if one[0] is not swapped:
        return Preference(0.5, True, "a tie: the verdict changes with the order")
    share = {Winner.A: 1.0, Winner.B: 0.0, Winner.TIE: 0.5}[one[0]]
    return Preference(share, False, one[1])


def prefer(ask: Ask, pairs: Sequence[tuple[Answered, str]]) -> list[Preference]:
    """For each answer and its rival; equal texts are a tie that nobody is asked about."""
    open_places = [place for place, (one, rival) in enumerate(pairs) if one.answer.strip() != rival.strip()]
    asked: list[Asked] = []
    for place in open_places:
        one, rival = pairs[place]
        for first, second in ((one.answer, rival), (rival, one.answer)):
            messages = pair_messages(one.question, first, second, one.reference, one.documents)
            asked.append(Asked(messages, one.repeat))
    replies = ask(asked) if asked else []
    found = {place: join_orders(*replies[2 * at : 2 * at + 2]) for at, place in enumerate(open_places)}
    return [found.get(place, Preference(0.5, False, "a tie: the answers are the same")) for place in range(len(pairs))]


class Pairwise:
    """An Evaluator against the rival's answer: 1 better, 0.5 a tie, 0 worse. Without a rival it is its own: 0.5."""

    def __init__(self, ask: Ask, model: str, *, name: str = "preferred") -> None:
        self._ask = ask
        self._model = model
        self.name = name

    @property
    def version(self) -> str:
        return pairwise_version(self._model)

    def score(self, answers: Sequence[Answered]) -> list[Score]:
        held = [(place, one, one.rival) for place, one in enumerate(answers) if one.rival is not None]
        found = prefer(self._ask, [(one, rival) for _, one, rival in held])
        scores = [Score(0.5, "has no rival but itself")] * len(answers)
        for (place, _, _), preference in zip(held, found, strict=True):
            scores[place] = Score(preference.share, preference.reason, failed=preference.share is None)
        return scores
