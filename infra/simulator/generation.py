"""From a chat call of either protocol to a completion: the reply's text within its limits, with its token counts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from . import tokens
from .practice.composing import Draft
from .practice.replying import Prompt, reply
from .practice.structured import fill_schema
from .practice.using_tools import ToolUse, summing_up, turn_of

NOTHING_TO_SAY = "I would have to use a tool for that."
Finish = Literal["stop", "length", "stop_sequence", "tool"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call; `parameters` is its JSON schema."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat request as both protocols mean it. `max_tokens` None: no limit.

    `tools` are on offer: the model may call any of them, unless `tools_allowed` is false. `forced_tool` it must call.
    """

    prompt: Prompt
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    forced_tool: Tool | None = None
    tools: tuple[str, ...] = ()
    tools_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated. `pieces` joined are the text; `uses` are calls of tools, beside the text or without one."""

    pieces: tuple[str, ...]
    finish: Finish
    input_tokens: int
    output_tokens: int
    stop_sequence: str | None = None
    uses: tuple[ToolUse, ...] = ()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def generate(call: ChatCall) -> Completion:
    """Runs the practice model and applies stop sequences and the token limit."""
    if call.forced_tool is not None:
        arguments = json.dumps(_arguments(call.forced_tool, call.prompt))
        return _calling("", (ToolUse(call.forced_tool.name, arguments),), call)
    turn = turn_of(call.prompt.messages, call.tools) if call.tools else None
    if turn is not None and turn.uses and call.tools_allowed:
        return _calling(turn.text, turn.uses, call)
    if turn is None:
        asked, spoken = _think(call.prompt)
    else:
        asked = tokens.count_messages(text for _, text in call.prompt.messages)
        said = turn.text if not turn.uses else summing_up(call.prompt.messages) or turn.text or NOTHING_TO_SAY
        spoken = tuple(tokens.pieces(said))
    finish: Finish = "stop"
    stopped_by: str | None = None
    if call.stops:
        text = "".join(spoken)
        cut, stopped_by = min(
            ((at, s) for s in call.stops if s and (at := text.find(s)) >= 0), default=(len(text), None)
        )
        if stopped_by is not None:
            spoken, finish = tuple(tokens.pieces(text[:cut])), "stop_sequence"
    if call.max_tokens is not None and len(spoken) > call.max_tokens:
        spoken, finish, stopped_by = spoken[: call.max_tokens], "length", None
    return Completion(spoken, finish, asked, len(spoken), stopped_by)


def _calling(text: str, uses: tuple[ToolUse, ...], call: ChatCall) -> Completion:
    asked = tokens.count_messages(text for _, text in call.prompt.messages)
    pieces = tuple(tokens.pieces(text))
    written = len(pieces) + sum(tokens.count(use.arguments) or 1 for use in uses)
    return Completion(pieces, "tool", asked, written, uses=uses)


@lru_cache(maxsize=8_192)
def _think(prompt: Prompt) -> tuple[int, tuple[str, ...]]:
    """Prompt tokens and the reply's tokens; the same prompt is the same thought, so it is kept."""
    return tokens.count_messages(text for _, text in prompt.messages), tuple(tokens.pieces(reply(prompt)))


def _arguments(tool: Tool, prompt: Prompt) -> Any:
    question = next((text for role, text in reversed(prompt.messages) if role == "user"), "")
    order = re.search(r"\b[A-Z]{1,4}-?\d{3,}\b|\b\d{3,}\b", question)
    schema = dict(tool.parameters) or {"type": "object", "properties": {}}
    return fill_schema({"type": "object", **schema}, Draft(order[0] if order else question, (), True))
