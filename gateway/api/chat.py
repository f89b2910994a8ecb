"""``POST /v1/chat/completions``: the endpoint that the OpenAI SDK talks to."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.api.chat_request import read_call, wants_usage
from gateway.api.chat_response import chunk, completion, last_chunks
from gateway.api.responses import error_body
from gateway.api.serving import Answering, Asker
from gateway.errors import PromptyardError
from gateway.types import Answer, Call, Delta

_encode = msgspec.json.Encoder(decimal_format="number").encode


class ChatWriter:
    """OpenAI's chunks. Protocol: https://platform.openai.com/docs/api-reference/chat-streaming."""

    def __init__(self, call: Call, *, with_usage: bool) -> None:
        self._call = call
        self._with_usage = with_usage

    def piece(self, delta: Delta) -> bytes:
        return _event(chunk(self._call, delta))

    def last(self, answer: Answer) -> bytes:
        events = (_event(value) for value in last_chunks(answer, with_usage=self._with_usage))
        return b"".join((*events, b"data: [DONE]\n\n"))

    def broken(self, error: PromptyardError) -> bytes:
        partial = {"call_id": self._call.id, "partial": True}
        return _event({**error_body(error, self._call.id), "promptyard": partial})


class ChatFace:
    """OpenAI's chat completions."""

    def read(self, body: Mapping[str, Any], asker: Asker) -> Call:
        return read_call(body, asker)

    def whole(self, answer: Answer) -> Any:
        return completion(answer)

    def writer(self, call: Call, body: Mapping[str, Any]) -> ChatWriter:
        return ChatWriter(call, with_usage=wants_usage(body))

    def refusal(self, error: PromptyardError, call_id: str) -> Any:
        return error_body(error, call_id)


def _event(value: object) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


chat_completions = Answering(ChatFace())
