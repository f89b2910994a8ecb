"""OpenAI-shaped messages and parameters in Anthropic's terms. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages. What Anthropic cannot express and what would change the
shape of the answer raises ``ProviderLacksFeature``, so that the chain goes on to a provider that can. Mere hints
(``DROPPED_HINTS``) are left out. Names that are neither go through as they are: Anthropic's own parameters (thinking,
top_k, output_config ...) work, and it refuses what it does not know.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.providers.anthropic_messages import translate_messages
from gateway.providers.dialect import Outgoing
from gateway.providers.unsent import lacks, malformed
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
    """Raises ``ProviderLacksFeature`` for what Anthropic cannot express.

    What is malformed, so that nobody could, raises ``ProviderRejectedRequest``.
    """
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
    number = params.get("n")
    if number is not None and not isinstance(number, int):
        raise malformed(request, "n must be a whole number")
    if number not in (None, 1):
        raise lacks(request, "n > 1")
    for name in ("logprobs", "top_logprobs", "audio", "functions", "function_call", "web_search_options"):
        if params.get(name):
            raise lacks(request, name)
    if set(_strings(request, "modalities")) - {"text"}:
        raise lacks(request, "modalities other than text")


def _stop_sequences(request: Completion) -> list[str]:
    stop = request.params.get("stop")
    stops = [stop] if isinstance(stop, str) else _strings(request, "stop")
    if any(not text.strip() for text in stops):
        raise lacks(request, "stop sequences of white space")
    return stops


def _strings(request: Completion, name: str) -> list[str]:
    value = request.params.get(name)
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise malformed(request, f"{name} must be a list of strings")
    return list(value)


def _format(request: Completion, body: Mapping[str, Any], system: str | list[dict[str, Any]]) -> dict[str, Any]:
    """``system`` and ``output_config`` for the response format."""
    wanted = request.params.get("response_format")
    if wanted is None:
        wanted = {"type": "text"}
    if not isinstance(wanted, Mapping) or not isinstance(kind := wanted.get("type"), str):
        raise malformed(request, "response_format must be an object with a type")
    extra: dict[str, Any] = {}
    if kind == "json_schema":
        schema = _schema(request, wanted.get("json_schema"))
        if not isinstance(body.get("output_config") or {}, Mapping):
            raise malformed(request, "output_config must be an object")
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


def _schema(request: Completion, json_schema: object) -> Mapping[str, Any]:
    if not isinstance(json_schema, Mapping):
        raise malformed(request, "response_format.json_schema must be an object")
    if "schema" not in json_schema:
        raise lacks(request, "a json_schema without a schema")
    if not isinstance(schema := json_schema["schema"], Mapping):
        raise malformed(request, "response_format.json_schema.schema must be an object")
    return schema


def _tools(request: Completion) -> dict[str, Any]:
    tools = request.params.get("tools")
    if tools is not None and not isinstance(tools, list | tuple):
        raise malformed(request, "tools must be a list")
    if not tools:
        return {}
    body: dict[str, Any] = {"tools": [_tool(request, tool) for tool in tools]}
    choice = _tool_choice(request, request.params.get("tool_choice"))
    if request.params.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice:
        body["tool_choice"] = choice
    return body


def _tool(request: Completion, tool: object) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise malformed(request, "a tool must be an object")
    if tool.get("type") == "function":
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise malformed(request, "the function of a tool must be an object with a name")
        translated = {
            "name": function.get("name"),
            "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        }
        return translated | {name: function[name] for name in ("description", "strict") if function.get(name)}
    if not isinstance(tool.get("name"), str):
        if isinstance(tool.get("type"), str):
            raise lacks(request, "this kind of tool")
        raise malformed(request, "a tool must have a type")
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
        case {"type": str(kind)} if kind != "function":
            raise lacks(request, "this tool_choice")
        case _:
            raise malformed(request, "tool_choice must be a known word or an object that names a tool")
