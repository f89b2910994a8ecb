"""OpenAI-shaped messages and parameters in Anthropic's terms. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages. What Anthropic cannot express and what would change the
shape of the answer raises ``ProviderLacksFeature``, so that the chain goes on to a provider that can. Mere hints
(``DROPPED_HINTS``) are left out. Names that are neither go through as they are: Anthropic's own parameters (thinking,
top_k, output_config ...) work, and it refuses what it does not know.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.providers.anthropic_messages import translate_messages
from gateway.providers.dialect import Outgoing
from gateway.providers.failures import lacks
from gateway.types import Completion

DEFAULT_MAX_TOKENS = 1024
DROPPED_HINTS = frozenset(
    {
        "frequency_penalty", "presence_penalty", "logit_bias", "seed", "store", "prediction", "verbosity",
        "reasoning_effort", "prompt_cache_key", "prompt_cache_retention", "service_tier", "stream", "stream_options",
    }
)  # fmt: skip
_TRANSLATED = frozenset(
    {
        "max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "user", "safety_identifier", "metadata", "n", "logprobs", "top_logprobs", "modalities",
        "audio", "functions", "function_call", "web_search_options", "temperature", "top_p", "top_k", "model",
        "messages",
    }
)  # fmt: skip
_SAMPLING = ("temperature", "top_p", "top_k")
_SAMPLING_VERSION = {"anthropic-version": "2023-06-01"}
_WITH_SAMPLING = re.compile(r"claude-(?:instant|[23]\b|(?:opus|sonnet|haiku)-4(?:-[0-6])?(?:-\d{8}|-latest|$))")
_ONLY_JSON = "Answer with a single JSON object and with nothing before or after it."


def translate_request(request: Completion, *, stream: bool) -> Outgoing:
    """Raises ``ProviderLacksFeature`` for what Anthropic cannot express."""
    params = request.params
    _refuse_what_is_missing(request)
    system, messages = translate_messages(request)
    body: dict[str, Any] = {
        name: value for name, value in params.items() if name not in _TRANSLATED and name not in DROPPED_HINTS
    }
    body |= {
        "model": request.ref.model,
        "messages": messages,
        "max_tokens": params.get("max_completion_tokens") or params.get("max_tokens") or DEFAULT_MAX_TOKENS,
    }
    body |= _format(request, body, system)
    body |= _tools(request)
    if stops := _stop_sequences(request):
        body["stop_sequences"] = stops
    if user := params.get("safety_identifier") or params.get("user"):
        body["metadata"] = {"user_id": user}
    elif isinstance(metadata := params.get("metadata"), Mapping) and set(metadata) == {"user_id"}:
        body["metadata"] = dict(metadata)
    if stream:
        body["stream"] = True
    sampling = sampling_parameters(request.ref.model, params)
    return Outgoing(body | sampling, _SAMPLING_VERSION if sampling else {})


def sampling_parameters(model: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Temperature, top_p and top_k, where they are allowed at all.

    API version 2026-10-21, which the SDK sends, refuses them for every model; version 2023-06-01 takes them for models
    up to generation 4.6, and later models refuse any but the default. So they are sent with the older version to the
    models that know them, and left out for the others, which sample in their one way.
    """
    if model.startswith("claude-") and not _WITH_SAMPLING.match(model):
        return {}
    sampling = {name: params[name] for name in _SAMPLING if params.get(name) is not None}
    if isinstance(temperature := sampling.get("temperature"), int | float):
        sampling["temperature"] = min(temperature, 1.0)  # OpenAI's scale ends at 2, Anthropic's at 1
        sampling.pop("top_p", None)  # the two together are refused since generation 4.5
    return sampling


def _refuse_what_is_missing(request: Completion) -> None:
    params = request.params
    if params.get("n") not in (None, 1):
        raise lacks(request, "n > 1")
    for name in ("logprobs", "top_logprobs", "audio", "functions", "function_call", "web_search_options"):
        if params.get(name):
            raise lacks(request, name)
    if set(params.get("modalities") or ()) - {"text"}:
        raise lacks(request, "modalities other than text")


def _stop_sequences(request: Completion) -> list[str]:
    stop = request.params.get("stop")
    stops = [stop] if isinstance(stop, str) else list(stop or ())
    if any(not text.strip() for text in stops):
        raise lacks(request, "stop sequences of white space")
    return stops


def _format(request: Completion, body: Mapping[str, Any], system: str | list[dict[str, Any]]) -> dict[str, Any]:
    """``system`` and ``output_config`` for the response format."""
    wanted = request.params.get("response_format") or {"type": "text"}
    kind = wanted.get("type")
    extra: dict[str, Any] = {}
    if kind == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema")
        if not isinstance(schema, Mapping):
            raise lacks(request, "a json_schema without a schema")
        output_format = {"type": "json_schema", "schema": schema}
        extra["output_config"] = {**(body.get("output_config") or {}), "format": output_format}
    elif kind == "json_object":
        # Anthropic has no JSON mode without a schema: an instruction is the best there is
        note = {"type": "text", "text": _ONLY_JSON}
        system = f"{system}\n\n{_ONLY_JSON}".strip() if isinstance(system, str) else [*system, note]
    elif kind != "text":
        raise lacks(request, "this response_format")
    if system:
        extra["system"] = system
    return extra


def _tools(request: Completion) -> dict[str, Any]:
    tools: Sequence[Mapping[str, Any]] = request.params.get("tools") or ()
    if not tools:
        return {}
    body: dict[str, Any] = {"tools": [_tool(request, tool) for tool in tools]}
    choice = _tool_choice(request, request.params.get("tool_choice"))
    if request.params.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice:
        body["tool_choice"] = choice
    return body


def _tool(request: Completion, tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") == "function" and isinstance(function, Mapping):
        translated = {
            "name": function.get("name"),
            "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        }
        return translated | {name: function[name] for name in ("description", "strict") if function.get(name)}
    if "custom" in tool or "name" not in tool:
        raise lacks(request, "this kind of tool")
    return dict(tool)  # one of Anthropic's own


def _tool_choice(request: Completion, choice: Any) -> dict[str, Any] | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case {"type": "auto" | "any" | "none" | "tool"}:
            return dict(choice)
        case _:
            raise lacks(request, "this tool_choice")
