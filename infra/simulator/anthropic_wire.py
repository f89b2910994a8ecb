"""Anthropic's messages, in the shapes that the ``anthropic`` 2.x SDK parses.

Source of the shapes: the SDK's own types (``anthropic.types.Message`` and ``RawMessageStreamEvent``).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from .generation import ChatCall, Completion, Tool, generate
from .practice.replying import Prompt
from .wire import ContentPart, Refusal, bearer, decode, halves, header, server_sent, text_of

_PIECES_PER_DELTA = 3
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_STOP_REASON = {"stop": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence", "tool": "tool_use"}


class Message(msgspec.Struct):
    role: str
    content: str | list[ContentPart]


class MessagesRequest(msgspec.Struct):
    """The fields that matter here; any other field is accepted and has no effect."""

    model: str
    messages: list[Message]
    max_tokens: int
    system: str | list[ContentPart] | None = None
    temperature: float | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None


class AnthropicDialect:
    """``x-api-key`` (or bearer) keys and ``{"type": "error", ...}`` bodies."""

    name = "anthropic"

    def key(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        return header(headers, b"x-api-key").strip() or bearer(headers)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        kind = _ERROR_TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": request_id}
        )


class Messages:
    """One call of the messages endpoint."""

    def __init__(self, request: MessagesRequest, call: ChatCall) -> None:
        self.model = request.model
        self.streams = bool(request.stream)
        self._call = call

    def body(self, identity: str, created: int) -> bytes:
        done = generate(self._call)
        return msgspec.json.encode(
            self._frame(identity)
            | {
                "content": [block.whole for block in _blocks(identity, done)],
                "stop_reason": _STOP_REASON[done.finish],
                "stop_sequence": done.stop_sequence,
                "usage": _usage(done, done.output_tokens),
            }
        )

    def events(self, identity: str, created: int) -> list[bytes]:
        done = generate(self._call)
        opening = self._frame(identity) | {
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(done, 1),
        }  # fmt: skip
        found = [server_sent({"type": "message_start", "message": opening}, "message_start")]
        for index, block in enumerate(_blocks(identity, done)):
            at = {"index": index}
            opened = {"type": "content_block_start", "content_block": block.opened} | at
            found.append(server_sent(opened, "content_block_start"))
            if not index:
                found.append(server_sent({"type": "ping"}, "ping"))
            for delta in block.deltas:
                piece = {"type": "content_block_delta", "delta": delta} | at
                found.append(server_sent(piece, "content_block_delta"))
            found.append(server_sent({"type": "content_block_stop"} | at, "content_block_stop"))
        ending = {
            "type": "message_delta",
            "delta": {"stop_reason": _STOP_REASON[done.finish], "stop_sequence": done.stop_sequence},
            "usage": {"output_tokens": done.output_tokens},
        }
        found.append(server_sent(ending, "message_delta"))
        found.append(server_sent({"type": "message_stop"}, "message_stop"))
        return found

    def _frame(self, identity: str) -> dict[str, Any]:
        return {"id": f"msg_{identity}", "type": "message", "role": "assistant", "model": self.model}


class _Block(msgspec.Struct, frozen=True):
    """A block of content: as it begins in a stream, its pieces, and what it is when it is whole."""

    opened: dict[str, Any]
    deltas: list[dict[str, str]]
    whole: dict[str, Any]


def _blocks(identity: str, done: Completion) -> list[_Block]:
    found = []
    if done.pieces or not done.uses:
        deltas = [
            {"type": "text_delta", "text": "".join(done.pieces[start : start + _PIECES_PER_DELTA])}
            for start in range(0, len(done.pieces), _PIECES_PER_DELTA)
        ]
        found.append(_Block({"type": "text", "text": ""}, deltas, {"type": "text", "text": done.text}))
    for number, use in enumerate(done.uses):
        opened = {"type": "tool_use", "id": f"toolu_{identity}_{number}", "name": use.name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in halves(use.arguments)]
        found.append(_Block(opened, deltas, opened | {"input": _input(use.arguments)}))
    return found


def _input(arguments: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arguments, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def read_messages(body: bytes, salt: str) -> Messages:
    """Understands a messages request; `salt` tells samples apart above temperature 0. Raises `Refusal`."""
    request = decode(body, MessagesRequest)
    if not request.messages:
        raise Refusal(400, "messages: at least one message is required", "messages")
    if request.max_tokens < 1:
        raise Refusal(400, "max_tokens: must be greater than or equal to 1", "max_tokens")
    wrong = next((m.role for m in request.messages if m.role not in ("user", "assistant", "system")), None)
    if wrong is not None:
        raise Refusal(400, f'messages: Unexpected role "{wrong}"', "messages")
    if request.temperature is not None and not 0 <= request.temperature <= 1:
        raise Refusal(400, "temperature: range: 0..1", "temperature")
    system = [("system", text_of(request.system))] if request.system else []
    schema = ((request.output_config or {}).get("format") or {}).get("schema")
    temperature = 1.0 if request.temperature is None else request.temperature
    prompt = Prompt(
        model=request.model,
        messages=(*system, *(said for m in request.messages for said in _said(m))),
        temperature=temperature,
        salt=salt if temperature else "",
        wants_json=schema is not None,
        schema=schema if isinstance(schema, dict) else None,
    )
    names = tuple(str(tool.get("name", "")) for tool in request.tools or ())
    allowed = (request.tool_choice or {}).get("type") != "none"
    stops = tuple(request.stop_sequences or ())
    return Messages(request, ChatCall(prompt, request.max_tokens, stops, _forced_tool(request), names, allowed))


def _said(message: Message) -> list[tuple[str, str]]:
    """(role, text); the results of tools, which a user's turn carries, have a role of their own."""
    if isinstance(message.content, str):
        return [(message.role, message.content)]
    results = [part for part in message.content if part.type == "tool_result"]
    rest = [part for part in message.content if part.type != "tool_result"]
    return [("tool", text_of([part])) for part in results] + ([(message.role, text_of(rest))] if rest else [])


def _forced_tool(request: MessagesRequest) -> Tool | None:
    """The tool that `tool_choice` leaves no way around."""
    choice = request.tool_choice or {}
    if choice.get("type") not in ("any", "tool"):
        return None
    wanted = choice.get("name")
    chosen = next((t for t in request.tools or () if wanted in (None, t.get("name"))), None)
    if chosen is None:
        raise Refusal(400, "tool_choice: no such tool was given", "tool_choice")
    return Tool(str(chosen.get("name", "")), chosen.get("input_schema") or {})


def _usage(done: Completion, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": done.input_tokens,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
    }
