"""Tools in OpenAI's words: what is on offer, what must be called, and a call as it is answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .generation import Tool
from .practice.using_tools import ToolUse
from .wire import Refusal

Tools = Sequence[Mapping[str, Any]] | None


def tool_names(tools: Tools) -> tuple[str, ...]:
    """The names of the functions on offer."""
    return tuple(str(function.get("name", "")) for function in _functions(tools))


def forced_tool(tools: Tools, choice: str | Mapping[str, Any] | None) -> Tool | None:
    """The tool that `choice` leaves no way around. Raises `Refusal` when it is not on offer."""
    wanted = choice.get("function", {}).get("name") if isinstance(choice, Mapping) else None
    if choice != "required" and wanted is None:
        return None
    chosen = next((f for f in _functions(tools) if wanted in (None, f.get("name"))), None)
    if chosen is None:
        raise Refusal(400, "Invalid 'tool_choice': no such tool was given.", "tool_choice")
    return Tool(str(chosen.get("name", "")), json.loads(json.dumps(chosen.get("parameters") or {})))


def tool_call(identity: str, number: int, use: ToolUse) -> dict[str, Any]:
    """The `number`-th call of an answer."""
    function = {"name": use.name, "arguments": use.arguments}
    return {"id": f"call_{identity}_{number}", "type": "function", "function": function}


def _functions(tools: Tools) -> list[Mapping[str, Any]]:
    return [tool["function"] for tool in tools or () if isinstance(tool.get("function"), dict)]
