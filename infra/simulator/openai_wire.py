"""OpenAI's chat completions and embeddings, in the shapes that the ``openai`` 3.x SDK parses.

Source of the shapes: the SDK's own types (``openai.types.chat``, ``openai.types.create_embedding_response``).
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from . import tokens
from .embedding import dimensions_of, embed
from .generation import ChatCall, Completion, generate
from .openai_tools import forced_tool, tool_call, tool_names
from .practice.replying import Prompt
from .practice.using_tools import ToolUse
from .wire import ContentPart, Refusal, bearer, decode, halves, server_sent, text_of

MAX_INPUTS = 2_048
MAX_INPUT_TOKENS = 8_192
_PIECES_PER_CHUNK = 3
_ERROR_CODES = {401: "invalid_api_key", 404: "unknown_url", 429: "rate_limit_exceeded"}
_FINISH = {"stop": "stop", "length": "length", "stop_sequence": "stop", "tool": "tool_calls"}


class Message(msgspec.Struct):
    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatRequest(msgspec.Struct):
    """The fields that matter here; any other field is accepted and has no effect."""

    model: str
    messages: list[Message]
    temperature: float | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None


class EmbeddingRequest(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


class OpenAIDialect:
    """Bearer keys and ``{"error": {...}}`` bodies."""

    name = "openai"

    def key(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        return bearer(headers)

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        status = refusal.status
        kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
        code = _ERROR_CODES.get(status)
        return msgspec.json.encode(
            {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}}
        )


class Chat:
    """One chat completion."""

    def __init__(self, request: ChatRequest, call: ChatCall) -> None:
        self.model = request.model
        self.streams = bool(request.stream)
        self._include_usage = request.stream_options is not None and request.stream_options.include_usage
        self._call = call

    def body(self, identity: str, created: int) -> bytes:
        done = generate(self._call)
        message: dict[str, Any] = {"role": "assistant", "content": done.text, "refusal": None, "annotations": []}
        if done.uses:
            calls = [tool_call(identity, number, use) for number, use in enumerate(done.uses)]
            message |= {"content": done.text or None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[done.finish]}
        return msgspec.json.encode(
            self._frame("chat.completion", identity, created) | {"choices": [choice], "usage": _usage(done)}
        )

    def events(self, identity: str, created: int) -> list[bytes]:
        done = generate(self._call)
        frame = self._frame("chat.completion.chunk", identity, created)
        if self._include_usage:
            frame["usage"] = None

        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
            return server_sent(
                frame | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
            )

        found = [chunk({"role": "assistant", "content": "", "refusal": None})]
        for start in range(0, len(done.pieces), _PIECES_PER_CHUNK):
            found.append(chunk({"content": "".join(done.pieces[start : start + _PIECES_PER_CHUNK])}))
        for number, use in enumerate(done.uses):
            opening = {"index": number, **tool_call(identity, number, ToolUse(use.name, ""))}
            found.append(chunk({"tool_calls": [opening]}))
            for part in halves(use.arguments):
                found.append(chunk({"tool_calls": [{"index": number, "function": {"arguments": part}}]}))
        found.append(chunk({}, _FINISH[done.finish]))
        if self._include_usage:
            found.append(server_sent(frame | {"choices": [], "usage": _usage(done)}))
        found.append(b"data: [DONE]\n\n")
        return found

    def _frame(self, kind: str, identity: str, created: int) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{identity}",
            "object": kind,
            "created": created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_practice",
        }


class Embeddings:
    """One embeddings call, over one text or many."""

    streams = False

    def __init__(self, request: EmbeddingRequest, texts: list[str]) -> None:
        self.model = request.model
        self._texts = texts
        self._dimensions = request.dimensions or dimensions_of(request.model)
        self._as_base64 = request.encoding_format == "base64"

    def body(self, identity: str, created: int) -> bytes:
        rows = [
            {"object": "embedding", "index": n, "embedding": self._vector(text)} for n, text in enumerate(self._texts)
        ]
        used = sum(tokens.count(text) for text in self._texts)
        return msgspec.json.encode(
            {
                "object": "list",
                "data": rows,
                "model": self.model,
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        )

    def events(self, identity: str, created: int) -> list[bytes]:
        raise Refusal(400, "Embeddings cannot be streamed.", "stream")

    def _vector(self, text: str) -> str | list[float]:
        vector = embed(text, self._dimensions)
        return base64.b64encode(vector.tobytes()).decode() if self._as_base64 else vector.tolist()


def read_chat(body: bytes, salt: str) -> Chat:
    """Understands a chat request; `salt` stands in for a seed above temperature 0. Raises `Refusal`."""
    request = decode(body, ChatRequest)
    if not request.messages:
        raise Refusal(400, "Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages")
    if request.n not in (None, 1):
        raise Refusal(400, "Only n=1 is supported.", "n")
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise Refusal(400, "Invalid 'temperature': expected a value between 0 and 2.", "temperature")
    limit = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    if limit is not None and limit < 1:
        raise Refusal(400, "Invalid 'max_tokens': integer below minimum value 1.", "max_tokens")
    wants_json, schema = _format(request.response_format)
    temperature = 1.0 if request.temperature is None else request.temperature
    prompt = Prompt(
        model=request.model,
        messages=tuple((m.role, text_of(m.content)) for m in request.messages),
        temperature=temperature,
        salt="" if not temperature else salt if request.seed is None else str(request.seed),
        wants_json=wants_json,
        schema=schema,
    )
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    forced = forced_tool(request.tools, request.tool_choice)
    return Chat(
        request, ChatCall(prompt, limit, stops, forced, tool_names(request.tools), request.tool_choice != "none")
    )


def read_embeddings(body: bytes, salt: str) -> Embeddings:
    """Understands an embeddings request; raises `Refusal`."""
    request = decode(body, EmbeddingRequest)
    given = request.input
    if isinstance(given, str):
        texts = [given]
    elif given and isinstance(given[0], int):
        texts = [" ".join(map(str, given))]
    else:
        texts = [" ".join(map(str, item)) if isinstance(item, list) else str(item) for item in given]
    if not texts or len(texts) > MAX_INPUTS:
        raise Refusal(400, f"Invalid 'input': between 1 and {MAX_INPUTS} texts are allowed.", "input")
    if "" in texts:
        raise Refusal(400, "Invalid 'input': input cannot be an empty string.", "input")
    if any(tokens.count(text) > MAX_INPUT_TOKENS for text in texts if len(text) > MAX_INPUT_TOKENS):
        raise Refusal(400, f"Invalid 'input': maximum context length is {MAX_INPUT_TOKENS} tokens.", "input")
    if request.dimensions is not None and not 1 <= request.dimensions <= 4_096:
        raise Refusal(400, "Invalid 'dimensions': expected a value between 1 and 4096.", "dimensions")
    if request.encoding_format not in (None, "float", "base64"):
        raise Refusal(400, "Invalid 'encoding_format': expected 'float' or 'base64'.", "encoding_format")
    return Embeddings(request, texts)


def _format(response_format: Mapping[str, Any] | None) -> tuple[bool, Mapping[str, Any] | None]:
    kind = (response_format or {}).get("type", "text")
    if response_format is None or kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    schema = (response_format.get("json_schema") or {}).get("schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise Refusal(400, "Invalid 'response_format'.", "response_format")
    return True, schema


def _usage(done: Completion) -> dict[str, Any]:
    return {
        "prompt_tokens": done.input_tokens,
        "completion_tokens": done.output_tokens,
        "total_tokens": done.input_tokens + done.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip
