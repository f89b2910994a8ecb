"""Anthropic's answers and stream events in OpenAI's terms. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages and .../build-with-claude/streaming.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from gateway.providers.deltas import MessageAssembler
from gateway.providers.dialect import Parsed
from gateway.types import Usage

_FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # not complete, and there is no better word for it
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def translate_reply(payload: object) -> Parsed:
    """Raises ``ValueError`` unless it is a message with content and a stop reason."""
    if not isinstance(payload, Mapping) or not isinstance(blocks := payload.get("content"), list):
        raise ValueError("there is no content")
    assembler = MessageAssembler()
    assembler.add({"content": ""})
    for number, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise ValueError("a content block is not an object")
        assembler.add(_opened(block, number, no_arguments="{}"))
    usage = payload.get("usage")
    return Parsed(assembler.message(), finish_reason(payload.get("stop_reason")), total_usage([usage]))


def finish_reason(stop_reason: object) -> str:
    """OpenAI's word for it; a reason that is not known keeps its own. Raises ``ValueError`` for none."""
    if not isinstance(stop_reason, str) or not stop_reason:
        raise ValueError("there is no stop reason")
    return _FINISH_REASONS.get(stop_reason, stop_reason)


def total_usage(reports: list[object]) -> Usage:
    """Usage of successive reports, each cumulative, so the last value of each count stands.

    Anthropic counts cache reads and writes apart from ``input_tokens``; here the input includes them.
    """
    counts: dict[str, int] = {}
    for report in reports:
        if isinstance(report, Mapping):
            counts |= _counts(report) | _counts(report.get("cache_creation"))
    read = counts.get("cache_read_input_tokens", 0)
    written = counts.get("cache_creation_input_tokens", 0)
    return Usage(
        counts.get("input_tokens", 0) + read + written,
        counts.get("output_tokens", 0),
        read,
        written,
        min(written, counts.get("ephemeral_1h_input_tokens", 0)),
        complete={"input_tokens", "output_tokens"} <= counts.keys(),
    )


def _counts(report: object) -> dict[str, int]:
    if not isinstance(report, Mapping):
        return {}
    return {name: value for name, value in report.items() if isinstance(value, int) and value >= 0}


class AnthropicStreamReader:
    """Turns events into deltas; complete once a ``message_delta`` named the stop reason."""

    def __init__(self) -> None:
        self._assembler = MessageAssembler()
        self._stop_reason: object = None
        self._reports: list[object] = []
        self._tools: dict[int, int] = {}  # block index to OpenAI's, which counts tool calls only
        self._without_arguments: set[int] = set()

    def feed(self, event: object) -> Mapping[str, Any]:
        delta = self._translate(event)
        self._assembler.add(delta)
        return delta

    def finish(self) -> Parsed | None:
        if self._stop_reason is None:
            return None
        return Parsed(self._assembler.message(), finish_reason(self._stop_reason), total_usage(self._reports))

    def so_far(self) -> Parsed:
        usage = total_usage(self._reports)
        # the input is known from the first event; the count of output tokens there is of no use
        known = usage if self._stop_reason is not None else structs.replace(usage, output_tokens=0, complete=False)
        return Parsed(self._assembler.message(), "", known)

    def _translate(self, event: Any) -> Mapping[str, Any]:
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self._reports.append(message.get("usage"))
                return {"role": "assistant", "content": ""}
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                if block.get("type") == "tool_use":
                    self._tools[index] = len(self._tools)
                    if not block.get("input"):
                        self._without_arguments.add(index)
                return _opened(block, self._tools.get(index, 0))
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                if delta.get("partial_json"):
                    self._without_arguments.discard(index)
                return _continued(delta, self._tools.get(index, 0))
            case {"type": "content_block_stop", "index": int(index)} if index in self._without_arguments:
                return _arguments("{}", self._tools[index])
            case {"type": "message_delta", "delta": dict(delta)}:
                self._stop_reason = delta.get("stop_reason") or self._stop_reason
                self._reports.append(event.get("usage"))
                return {}
            case {"type": str()}:
                return {}  # new kinds of events may come within an API version
            case _:
                raise ValueError("an event has no type")


def _opened(block: Mapping[str, Any], number: int, no_arguments: str = "") -> dict[str, Any]:
    match block:
        case {"type": "text", "text": str(text)}:
            return {"content": text} if text else {}
        case {"type": "thinking", "thinking": str(text)}:
            return {"reasoning_content": text} if text else {}
        case {"type": "tool_use", "id": str(identity), "name": str(name)}:
            given = block.get("input")
            arguments = msgspec.json.encode(given).decode() if given else no_arguments
            function = {"name": name, "arguments": arguments}
            return {"tool_calls": [{"index": number, "id": identity, "type": "function", "function": function}]}
        case {"type": str()}:
            return {}
        case _:
            raise ValueError("a content block has no type")


def _continued(delta: Mapping[str, Any], number: int) -> dict[str, Any]:
    match delta:
        case {"type": "text_delta", "text": str(text)}:
            return {"content": text} if text else {}
        case {"type": "thinking_delta", "thinking": str(text)}:
            return {"reasoning_content": text} if text else {}
        case {"type": "input_json_delta", "partial_json": str(text)}:
            return _arguments(text, number) if text else {}
        case _:
            return {}


def _arguments(text: str, number: int) -> dict[str, Any]:
    return {"tool_calls": [{"index": number, "function": {"arguments": text}}]}
