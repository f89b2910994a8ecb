"""When the practice model calls tools that it may call or leave, and what it makes of their results. By rules."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = r"\(*\d+(?:\.\d+)?\)*"
_ARITHMETIC = re.compile(rf"{_NUMBER}(?:\s*(?:\*\*|[-+*/^×÷])\s*{_NUMBER})+")
_TIME = re.compile(r"\b(?:what time|what day|current (?:time|date)|today's date)\b", re.IGNORECASE)
_LOOK_UP = re.compile(r"\b(?:look (?:it )?up|search)\b", re.IGNORECASE)
_BY_NAME = re.compile(r"\buse (?P<name>[A-Za-z0-9_-]+)(?: with (?P<arguments>\{.*?\}))?", re.IGNORECASE)
_FOR_EVER = re.compile(r"\bover and over\b", re.IGNORECASE)
_ALOUD = re.compile(r"\bthink aloud\b", re.IGNORECASE)

Messages = Sequence[tuple[str, str]]
"""(role, text); the results of tools have the role ``tool``."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call of a tool; `arguments` is JSON, or what a careless model takes for it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model does with tools: says something, calls some, or both."""

    text: str
    uses: tuple[ToolUse, ...] = ()


def turn_of(messages: Messages, offered: Collection[str]) -> Turn | None:
    """What the last question makes of the tools on offer; None where it asks for none of them.

    Sums go to `calculate`, questions for the time to `current_time`, "look up" and "search" to `search_documents`, and
    "use NAME with {json}" to any tool. Asked to do it "over and over" it calls them whatever they answer; asked to
    "think aloud" it speaks while it calls.
    """
    last = max((number for number, (role, _) in enumerate(messages) if role == "user"), default=-1)
    question = messages[last][1] if last >= 0 else ""
    uses = tuple(use for name, wanted in _RULES.items() if name in offered for use in wanted(question))
    uses += tuple(
        ToolUse(match["name"], match["arguments"] or "{}")
        for match in _BY_NAME.finditer(question)
        if match["name"] in offered
    )
    if not uses:
        return None
    results = [text for role, text in messages[last + 1 :] if role == "tool"]
    if results and not _FOR_EVER.search(question):
        return Turn(" ".join(map(_told, results)))
    return Turn("Let me see." if _ALOUD.search(question) else "", uses)


def summing_up(messages: Messages) -> str:
    """What it says when it would go on calling tools but may not any more; empty without results."""
    results = [text for role, text in messages if role == "tool"]
    return _told(results[-1]) if results else ""


def _sums(question: str) -> Sequence[ToolUse]:
    return [_use("calculate", expression=match[0]) for match in _ARITHMETIC.finditer(_BY_NAME.sub("", question))]


def _times(question: str) -> Sequence[ToolUse]:
    return [_use("current_time")] if _TIME.search(question) else []


def _searches(question: str) -> Sequence[ToolUse]:
    return [_use("search_documents", query=question)] if _LOOK_UP.search(question) else []


_RULES: Mapping[str, Callable[[str], Sequence[ToolUse]]] = {
    "calculate": _sums,
    "current_time": _times,
    "search_documents": _searches,
}


def _use(name: str, **arguments: str) -> ToolUse:
    return ToolUse(name, json.dumps(arguments, ensure_ascii=False))


def _told(result: str) -> str:
    """A result in words."""
    try:
        value: Any = json.loads(result)
    except ValueError:
        value = result
    if isinstance(value, dict) and "error" in value:
        return f"I could not find that out: {value['error']}."
    if isinstance(value, list) and value and all(isinstance(one, dict) and "text" in one for one in value):
        return " ".join(f"{one['text']} [doc:{one.get('document', '')}]" for one in value)
    return f"The result is {result}."
