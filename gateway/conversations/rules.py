"""What of a conversation goes where: pure decisions about messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.types import Message, PromptVersion

QUESTION = "question"
"""The variable that the last user message fills."""

_REMEMBERED = ("role", "content", "refusal", "tool_calls", "thinking_blocks")

Messages = tuple[Message, ...]


class Placed(Struct, frozen=True):
    """A conversation laid out for a prompt; see ``gateway.types.Call`` for the fields."""

    variables: Mapping[str, Any]
    history: Messages
    messages: Messages


def place(version: PromptVersion, variables: Mapping[str, Any], messages: Sequence[Message]) -> Placed:
    """Where the messages of a conversation stand in a prompt.

    A prompt that declares the variable ``question`` asks it itself: the last user message fills it unless it is given,
    what was said before stands before the template's question, and what follows (tool calls and results) after it.
    Where ``question`` is given as a variable, all messages were said before. A prompt without it is instructions only:
    the messages follow them.
    """
    if all(variable.name != QUESTION for variable in version.variables):
        return Placed(variables, (), tuple(messages))
    if QUESTION in variables:
        return Placed(variables, tuple(messages), ())
    last = max((at for at, one in enumerate(messages) if one.get("role") == "user"), default=-1)
    text = text_of(messages[last]) if last >= 0 else None
    if text is None:  # a picture, or nothing: binding says what is missing
        return Placed(variables, (), tuple(messages))
    return Placed({**variables, QUESTION: text}, tuple(messages[:last]), tuple(messages[last + 1 :]))


def text_of(message: Message) -> str | None:
    """The text of a message that is nothing but text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple) or not content:
        return None
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    if len(texts) != len(content) or not all(isinstance(text, str) for text in texts):
        return None
    return "\n".join(map(str, texts))


def said(messages: Sequence[Message], variables: Mapping[str, Any]) -> Messages:
    """What the user's side adds in one turn; empty where neither messages nor a question were sent."""
    if messages:
        return tuple(messages)
    question = variables.get(QUESTION)
    if question is None or question == "":
        return ()
    return (
        {"role": "user", "content": question if isinstance(question, str) else msgspec.json.encode(question).decode()},
    )


def remembered(answer: Message) -> Message:
    """The assistant's message as a later turn sends it: what was said, without what was thought or reported."""
    return {name: answer[name] for name in _REMEMBERED if answer.get(name) is not None}


def recent(turns: Sequence[Sequence[Message]], *, turns_at_most: int, chars_at_most: int) -> list[Sequence[Message]]:
    """The latest turns within both bounds, oldest first. Turns stay whole; characters are those of their JSON.

    The first one begins with a user message: the answer to a tool call that was dropped would answer nothing.
    """
    kept: list[Sequence[Message]] = []
    chars = 0
    for turn in reversed(turns):
        chars += len(msgspec.json.encode(turn).decode())
        if len(kept) == turns_at_most or chars > chars_at_most:
            break
        kept.append(turn)
    while kept and (not kept[-1] or kept[-1][0].get("role") != "user"):
        kept.pop()
    return kept[::-1]
