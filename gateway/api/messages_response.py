"""An Answer, or the pieces of one, as Anthropic's message and stream events. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages and .../build-with-claude/streaming. Content blocks come in
the order thinking, text, tool use.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.api.chat_response import provenance
from gateway.types import Answer, Delta, Message, Reply, Usage

Object = dict[str, Any]

_STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ANTHROPICS_OWN = frozenset({"stop_sequence", "pause_turn", "model_context_window_exceeded"})


def message(answer: Answer) -> Object:
    """A ``message`` object, with the ``promptyard`` object that says where it came from."""
    reply = answer.reply
    return {
        "id": answer.call.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": content_blocks(reply.message),
        "stop_reason": stop_reason(reply),
        "stop_sequence": None,
        "usage": usage(reply.usage),
        "promptyard": provenance(answer),
    }


def content_blocks(said: Message) -> list[Object]:
    blocks: list[Object] = [dict(block) for block in said.get("thinking_blocks") or ()]
    if not blocks and (thought := said.get("reasoning_content")):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := _text(said):
        blocks.append({"type": "text", "text": text})
    for call in said.get("tool_calls") or ():
        function = call.get("function") or {}
        given = _object(function.get("arguments") or "{}")
        blocks.append(_tool_use(call.get("id"), function.get("name")) | {"input": given})
    return blocks or [{"type": "text", "text": ""}]


def stop_reason(reply: Reply) -> str:
    """Anthropic's word; a reason that is nobody's is an end of turn."""
    if reply.message.get("refusal"):
        return "refusal"
    if reply.finish_reason in _ANTHROPICS_OWN:
        return reply.finish_reason
    return _STOP_REASONS.get(reply.finish_reason, "end_turn")


def usage(used: Usage) -> Object:
    """Anthropic counts what its prompt cache read and wrote apart from ``input_tokens``."""
    apart = used.cached_input_tokens + used.cache_write_tokens
    return {
        "input_tokens": max(0, used.input_tokens - apart),
        "output_tokens": used.output_tokens,
        "cache_creation_input_tokens": used.cache_write_tokens,
        "cache_read_input_tokens": used.cached_input_tokens,
    }


class MessageEvents:
    """The events of one stream, in valid order: blocks are opened one after another and closed before the next."""

    def __init__(self, call_id: str, model: str) -> None:
        self._call_id = call_id
        self._model = model
        self._begun = False
        self._index = -1
        self._open: object = None
        """What the open block is: ``thinking``, ``text``, or the number of a tool call; None while none is open."""
        self._thoughts = 0
        """Thinking blocks that are complete."""

    def of(self, piece: Delta) -> Iterator[Object]:
        """Events of one delta; a whole message, such as a kept one, is a delta too."""
        delta = piece.delta
        yield from self._start()
        if blocks := delta.get("thinking_blocks"):
            yield from self._signed(blocks)
        elif thought := delta.get("reasoning_content"):
            yield from self._say("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": thought})
        if text := _text(delta):
            yield from self._say("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for position, call in enumerate(delta.get("tool_calls") or ()):
            yield from self._tool(call.get("index", position), call)

    def end(self, answer: Answer) -> Iterator[Object]:
        yield from self._start()
        if self._index < 0:
            yield from self._say("text", {"type": "text", "text": ""})
        yield from self._close()
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(answer.reply), "stop_sequence": None},
            "usage": usage(answer.reply.usage),
            "promptyard": provenance(answer),
        }
        yield {"type": "message_stop"}

    def _start(self) -> Iterator[Object]:
        if not self._begun:
            self._begun = True
            opening = {"id": self._call_id, "type": "message", "role": "assistant", "model": self._model}
            empty: Object = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage(Usage())}
            yield {"type": "message_start", "message": opening | empty}

    def _signed(self, blocks: list[Mapping[str, Any]]) -> Iterator[Object]:
        """Thinking blocks up to here, complete with their signatures; the first may have been streamed already."""
        for block in blocks[self._thoughts :]:
            self._thoughts += 1
            if self._open != "thinking":
                yield from self._say("signed", {**block, "signature": ""} if "thinking" in block else dict(block))
            if signature := block.get("signature"):
                yield self._delta({"type": "signature_delta", "signature": signature})
            yield from self._close()

    def _tool(self, number: int, call: Mapping[str, Any]) -> Iterator[Object]:
        function = call.get("function") or {}
        block = _tool_use(call.get("id"), function.get("name"))
        yield from self._say(number, block | {"input": {}})
        if arguments := function.get("arguments"):
            yield self._delta({"type": "input_json_delta", "partial_json": arguments})

    def _say(self, what: object, block: Object) -> Iterator[Object]:
        """Open a block, unless it is the one that is open."""
        if self._open != what:
            yield from self._close()
            self._open = what
            self._index += 1
            yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _close(self) -> Iterator[Object]:
        if self._open is not None:
            self._open = None
            yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: Object) -> Object:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def _tool_use(identity: object, name: object) -> Object:
    return {"type": "tool_use", "id": identity or "", "name": name or ""}


def _text(said: Mapping[str, Any]) -> str:
    for name in ("content", "refusal"):
        value = said.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def _object(arguments: str) -> Object:
    """Arguments that were cut off are no JSON: then they stand whole under ``INVALID_JSON``, as Anthropic advises."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"INVALID_JSON": arguments}
