"""OpenAI, and every server that speaks its chat completions.

Protocol: https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Mapping
from typing import Any

from openai import AsyncOpenAI

from gateway.clock import Clock
from gateway.errors import ProviderRejectedRequest
from gateway.providers.deltas import MessageAssembler
from gateway.providers.dialect import Outgoing, Parsed
from gateway.providers.sdk_endpoint import connection_to
from gateway.providers.unsent import malformed
from gateway.providers.wire import WireProvider
from gateway.settings import ChainSettings, ProviderSettings
from gateway.types import Completion, Usage

_PATH = "/chat/completions"


class OpenAIDialect:
    """Parameters go through as they are, known or not; the message comes back as it is."""

    def encode(self, request: Completion, *, stream: bool) -> Outgoing:
        if request.params.get("n") not in (None, 1):
            ref = request.ref
            raise ProviderRejectedRequest("Only n=1 is served.", provider=ref.provider, model=ref.model)
        if not all(isinstance(message, Mapping) for message in request.messages):
            raise malformed(request, "a message must be an object")
        body: dict[str, Any] = {
            **request.params,
            "model": request.ref.model,
            "messages": [dict(message) for message in request.messages],
        }
        body.pop("stream", None)
        if stream:
            body["stream"] = True
            options = request.params.get("stream_options") or {}
            if not isinstance(options, Mapping):
                raise malformed(request, "stream_options must be an object")
            body["stream_options"] = {**options, "include_usage": True}
        else:
            body.pop("stream_options", None)
        return Outgoing(body)

    def decode(self, payload: object) -> Parsed:
        choice = _first_choice(payload)
        if choice is None or not isinstance(message := choice.get("message"), Mapping):
            raise ValueError("there is no message")
        return Parsed(
            {"role": "assistant", **message},
            _text(choice.get("finish_reason")) or "unknown",
            read_usage(payload),
        )

    def reader(self) -> "OpenAIStreamReader":
        return OpenAIStreamReader()


class OpenAIStreamReader:
    """Chunks are deltas already; usage comes in a last chunk that has no choice."""

    def __init__(self) -> None:
        self._assembler = MessageAssembler()
        self._finish_reason = ""
        self._usage: Usage | None = None

    def feed(self, event: object) -> Mapping[str, Any]:
        if not isinstance(event, Mapping):
            raise ValueError("an event is not an object")
        if event.get("usage"):
            self._usage = read_usage(event)
        choice = _first_choice(event)
        if choice is None:
            return {}
        self._finish_reason = _text(choice.get("finish_reason")) or self._finish_reason
        delta = choice.get("delta") or {}
        if not isinstance(delta, Mapping):
            raise ValueError("a delta is not an object")
        self._assembler.add(delta)
        return delta

    def finish(self) -> Parsed | None:
        if not self._finish_reason:
            return None
        return Parsed(self._assembler.message(), self._finish_reason, self._usage or Usage(complete=False))

    def so_far(self) -> Parsed:
        return Parsed(self._assembler.message(), "", self._usage or Usage(complete=False))


def read_usage(payload: object) -> Usage:
    """``usage`` of an answer or chunk; not ``complete`` where the server reports none."""
    usage = payload.get("usage") if isinstance(payload, Mapping) else None
    if not isinstance(usage, Mapping):
        return Usage(complete=False)
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0
    prompt = _count(usage.get("prompt_tokens"))
    return Usage(prompt, _count(usage.get("completion_tokens")), min(cached, prompt))


def provider(name: str, settings: ProviderSettings, chain: ChainSettings, clock: Clock) -> WireProvider:
    """A provider by OpenAI's protocol at ``settings.base_url``."""
    client = AsyncOpenAI(
        # a local server often wants no key, the SDK always does
        api_key=settings.api_key.get_secret_value() or "none",
        base_url=settings.base_url or None,
    )
    credentials = {"Authorization": f"Bearer {client.api_key}"}
    connection = connection_to(client, _PATH, connect_timeout=chain.connect_timeout, headers=credentials)
    return WireProvider(name, connection, OpenAIDialect(), clock=clock)


def _first_choice(payload: object) -> Mapping[str, Any] | None:
    choices = payload.get("choices") if isinstance(payload, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        return None
    return choices[0]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
