"""The practice model's front door: a prompt in, the text of the reply out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .abilities import ability_of
from .composing import compose
from .dice import Dice
from .instructions import Instructions, read_instructions
from .items import join_replies, split_items
from .judge_prompt import read_judge_task
from .passages import Passage, split_passages
from .phrases import invent
from .questions import find_question_text, read_question
from .structured import answer_as_json
from .verdict import verdict_text


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat prompt of either protocol: `messages` are (role, text); `salt` separates samples above temperature 0 and
    is empty at 0, so that equal prompts are equal."""

    model: str
    messages: tuple[tuple[str, str], ...]
    temperature: float = 0.0
    salt: str = ""
    wants_json: bool = False
    schema: Mapping[str, Any] | None = field(default=None, hash=False)


_SPEAKS_OF_SOURCES = re.compile(
    r"\b(?:articles?|documents?|context|sources?|passages?|knowledge base|help cent(?:re|er)|documentation)\b",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"^\W*(?:please )?(?:say|reply|respond|answer|repeat|echo|output|return)(?: (?:with|back))?(?: (?:exactly|"
    r"only|just|the word|the words|the text))*\s*:?\s*[\"'“](?P<quoted>[^\"”]+)[\"'”]\W*$"
    r"|^\W*(?:please )?(?:say|repeat|echo|(?:reply|respond|answer) with)(?: (?:exactly|only|just|the word))*:? "
    r"(?P<plain>\S+(?: \S+){0,5}?)[.!]?$",
    re.IGNORECASE,
)
_GREETING = re.compile(
    r"^\W*(?:hi|hello|hey|good (?:morning|evening|afternoon|day)|ping|test)\b[^?]{0,20}$", re.IGNORECASE
)


def reply(prompt: Prompt) -> str:
    """Answers, or judges when the prompt asks for a judgement. Never raises; any prompt gets some reply."""
    several = split_items(prompt)
    if several:
        return join_replies(prompt, {identity: reply(one) for identity, one in several.items()})
    ability = ability_of(prompt.model)
    task = read_judge_task(prompt.messages, prompt.schema, prompt.wants_json)
    if task is not None:
        return verdict_text(task, ability)
    guidance = [text for role, text in prompt.messages if role in ("system", "developer")]
    spoken = [text for role, text in prompt.messages if role == "user"]
    tools = [text for role, text in prompt.messages if role == "tool"]
    last = spoken[-1] if spoken else (guidance.pop() if guidance else "")
    passages: list[Passage] = []
    rules: list[str] = []
    for text in guidance:
        parts = split_passages(text)
        passages.extend(parts.passages)
        rules.append(parts.remainder)
    parts = split_passages(last)
    passages.extend(parts.passages)
    passages.extend(Passage("[tool]", "", text) for text in tools if text.strip())
    message = find_question_text(parts.remainder)
    if not guidance and message == parts.remainder.strip() and "\n" in message:
        paragraphs = [p.strip() for p in re.split(r"\n+", message) if p.strip()]
        message = next((p for p in reversed(paragraphs) if p.endswith("?")), paragraphs[-1])
    preface = parts.remainder.replace(message, " ")
    asked = read_instructions("\n".join([*rules, preface]))
    asked = _with_own_wishes(asked, message, alone=not guidance and not preface.strip())
    dice = Dice(prompt.model, message, prompt.temperature, prompt.salt)
    grounded = bool(passages) or bool(_SPEAKS_OF_SOURCES.search("\n".join([*rules, preface])))
    if not grounded and not (prompt.wants_json or asked.json):
        return _small_talk(message, asked, dice)
    draft = compose(message, read_question(message), passages, asked, ability, dice)
    if prompt.wants_json or asked.json:
        return answer_as_json(draft, "\n".join([*rules, preface, message]), prompt.schema)
    return draft.text


def _with_own_wishes(asked: Instructions, message: str, alone: bool) -> Instructions:
    """Adds what the customer asks about form; the rest of the message instructs only when nothing else does."""
    own = read_instructions(message)
    if alone:
        return own
    return replace(
        asked,
        max_sentences=asked.max_sentences or own.max_sentences,
        max_words=asked.max_words or own.max_words,
        json=asked.json if asked.json is not None else own.json,
    )


def _small_talk(message: str, asked: Instructions, dice: Dice) -> str:
    """A reply where the prompt offers nothing to answer from."""
    echo = _ECHO.match(message)
    if echo:
        return (echo["quoted"] or echo["plain"]).strip()
    if not message or _GREETING.match(message):
        return dice.pick(
            "hello",
            ("Hello! How can I help you?", "Hi there! What can I do for you?", "Hello! What would you like to know?"),
        )
    if asked.admit:
        return dice.pick(
            "nothing",
            (
                "I don't know: I was given nothing to answer this from.",
                "I don't know that, as I have no information about it.",
            ),
        )
    return invent(message, dice)
