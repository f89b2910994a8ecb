"""``POST /v1/completion`` and ``POST /v1/chat``: managed prompts without a vendor's protocol.

An answer is ``{"text", "message", "finish_reason", "usage", "promptyard"}``, of a chat also ``conversation``. A stream
is server-sent events: ``delta`` with ``{"text"}``, at the end ``answer`` with what a whole answer holds, or ``error``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway.api.chat_response import provenance, usage
from gateway.api.completion_request import read_chat, read_completion
from gateway.api.conversing import Conversing
from gateway.api.responses import error_body
from gateway.api.serving import Answering, Asker
from gateway.errors import PromptyardError
from gateway.types import Answer, Call, Delta

_encode = msgspec.json.Encoder(decimal_format="number").encode


class PlainWriter:
    """Named events, one JSON object each."""

    def __init__(self, call: Call, whole: Callable[[Answer], Any]) -> None:
        self._call = call
        self._whole = whole

    def piece(self, delta: Delta) -> bytes:
        text = delta.delta.get("content")
        return _event("delta", {"text": text}) if isinstance(text, str) and text else b""

    def last(self, answer: Answer) -> bytes:
        return _event("answer", self._whole(answer))

    def broken(self, error: PromptyardError) -> bytes:
        partial = {"call_id": self._call.id, "partial": True}
        return _event("error", {**error_body(error, self._call.id), "promptyard": partial})


class CompletionFace:
    """One answer, without memory."""

    def read(self, body: Mapping[str, Any], asker: Asker) -> Call:
        return read_completion(body, asker)

    def whole(self, answer: Answer) -> Any:
        reply = answer.reply
        return {
            "text": reply.text,
            "message": reply.message,
            "finish_reason": reply.finish_reason,
            "usage": usage(reply.usage),
            "promptyard": provenance(answer),
        }

    def writer(self, call: Call, body: Mapping[str, Any]) -> PlainWriter:
        return PlainWriter(call, self.whole)

    def refusal(self, error: PromptyardError, call_id: str) -> Any:
        return error_body(error, call_id)


class ConversationFace(CompletionFace):
    """A turn of a conversation; ``conversation`` is null unless it is held here."""

    def read(self, body: Mapping[str, Any], asker: Asker) -> Call:
        return read_chat(body, asker)

    def whole(self, answer: Answer) -> Any:
        return {**super().whole(answer), "conversation": answer.conversation}


def _event(name: str, value: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + _encode(value) + b"\n\n"


completion = Answering(CompletionFace())
chat = Conversing(ConversationFace())
