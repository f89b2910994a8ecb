"""Streamed deltas in OpenAI's shape, put together again. Pure."""

from collections.abc import Mapping
from typing import Any


class MessageAssembler:
    """Adds up ``choices[0].delta`` objects to the message that they make.

    Texts (content, refusal, reasoning ...) are joined, tool calls are joined by their index, of anything else the last
    value stays. Protocol: https://platform.openai.com/docs/api-reference/chat-streaming
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._tools: dict[int, dict[str, Any]] = {}

    def add(self, delta: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` for tool calls that are not of the protocol."""
        for name, value in delta.items():
            if name == "tool_calls":
                for piece in value or ():
                    self._add_tool(piece)
            elif isinstance(value, str) and name != "role":
                self._texts.setdefault(name, []).append(value)
            elif value is not None:
                self._fields[name] = value

    def message(self) -> dict[str, Any]:
        """``{"role": "assistant", "content": str | None, ...}``."""
        message: dict[str, Any] = {"role": "assistant", "content": None}
        message |= self._fields
        message |= {name: "".join(pieces) for name, pieces in self._texts.items()}
        if self._tools:
            message["tool_calls"] = [self._tools[index] for index in sorted(self._tools)]
            message["content"] = message["content"] or None
        return message

    def _add_tool(self, piece: object) -> None:
        if not isinstance(piece, Mapping) or not isinstance(index := piece.get("index", 0), int):
            raise ValueError("a piece of a tool call is not an object with an index")
        call = self._tools.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        for name, value in piece.items():
            if name == "function" and isinstance(value, Mapping):
                for part, text in value.items():
                    if isinstance(text, str):
                        call["function"][part] = call["function"].get(part, "") + text
            elif name != "index" and value is not None:
                call[name] = value
