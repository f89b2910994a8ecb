"""Anthropic's messages body in OpenAI's terms, then read into a Call as any other. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages. Text, images, tools, tool results and structured output
become OpenAI's; what OpenAI has no word for (``thinking``, ``top_k``, ``cache_control``, documents ...) stays as it is,
for the providers that know it. Nothing is dropped but the user's id, which is ``Call.user`` and no parameter.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from gateway.api.chat_request import MANAGED, model_ref, read_call
from gateway.api.messages_content import chat_messages, system_message
from gateway.api.serving import Asker
from gateway.errors import InvalidRequest
from gateway.types import Call

Object = dict[str, Any]

_TRANSLATED = frozenset(
    {"messages", "system", "stop_sequences", "tools", "tool_choice", "output_config", "output_format", "metadata"}
)
_PLAIN_TOOL = frozenset({"type", "name", "description", "input_schema", "strict"})
_LONGEST_USER = 200


def read_message_call(body: Mapping[str, Any], asker: Asker) -> Call:
    """A Call from the body. ``model`` and the extensions (``variables``, ``promptyard``, ``user``) are as in
    ``chat_request``. Raises InvalidRequest, naming the field."""
    return read_call(in_openai_terms(body, asker.providers), asker)


def in_openai_terms(body: Mapping[str, Any], providers: frozenset[str] = frozenset()) -> Object:
    """The body of the same chat completion. Raises InvalidRequest.

    A raw call to Anthropic itself keeps tools and tool choice in Anthropic's words, which say more.
    """
    provider = _provider(body.get("model"), providers)
    translated = {name: value for name, value in body.items() if name not in _TRANSLATED}
    translated["messages"] = [*system_message(body.get("system")), *chat_messages(body.get("messages"))]
    if provider == "openai" and (limit := translated.pop("max_tokens", None)) is not None:
        translated["max_completion_tokens"] = limit  # its newer models refuse the old name
    if stops := _list(body, "stop_sequences"):
        if not all(isinstance(stop, str) for stop in stops):
            raise InvalidRequest("'stop_sequences' must be strings")
        translated["stop"] = stops
    if tools := _list(body, "tools"):
        functions = [_tool(tool) for tool in tools]
        translated["tools"] = tools if provider == "anthropic" else functions
    if choice := _object(body, "tool_choice"):
        chosen = _tool_choice(choice)
        translated |= {"tool_choice": choice} if provider == "anthropic" else chosen
    return translated | _output(body) | _metadata(body)


def _provider(model: object, providers: frozenset[str]) -> str:
    """Of a raw call; empty for a managed prompt, whose chain may have several."""
    if not isinstance(model, str) or model.startswith(MANAGED):
        return ""
    return model_ref(model, providers).provider


def _tool(tool: Any) -> Object:
    """A function, with what else is said beside it; a tool of Anthropic's own (web search ...) goes as it is."""
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        raise InvalidRequest("'tools' must be objects with a 'name'")
    if tool.get("type") not in (None, "custom"):
        return dict(tool)
    if not isinstance(tool.get("input_schema"), dict):
        raise InvalidRequest("a tool needs an object as 'input_schema'")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function |= {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    beyond = {name: value for name, value in tool.items() if name not in _PLAIN_TOOL and value is not None}
    return {"type": "function", "function": function, **beyond}


def _tool_choice(choice: Mapping[str, Any]) -> Object:
    translated: Object = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    match choice:
        case {"type": "auto" | "none" as kind}:
            return translated | {"tool_choice": kind}
        case {"type": "any"}:
            return translated | {"tool_choice": "required"}
        case {"type": "tool", "name": str(name)}:
            return translated | {"tool_choice": {"type": "function", "function": {"name": name}}}
        case _:
            raise InvalidRequest("'tool_choice' must have a type: auto, any, none, or tool with a name")


def _output(body: Mapping[str, Any]) -> Object:
    """The format as ``response_format`` (``output_format`` is its old name), and the rest of ``output_config``."""
    config = dict(_object(body, "output_config"))
    wanted = config.pop("format", None) or body.get("output_format")
    translated: Object = {"output_config": config} if config else {}
    match wanted:
        case None:
            return translated
        case {"type": "json_schema", "schema": dict(schema)}:
            named = {"name": "answer", "schema": schema, "strict": True}
            return translated | {"response_format": {"type": "json_schema", "json_schema": named}}
        case _:
            raise InvalidRequest("output_config.format must have the type 'json_schema' and an object as 'schema'")


def _metadata(body: Mapping[str, Any]) -> Object:
    """``metadata.user_id`` is the user, unless ``user`` says it; a long id stands by its SHA-256."""
    metadata = dict(_object(body, "metadata"))
    user = metadata.pop("user_id", None)
    if user is not None and not isinstance(user, str):
        raise InvalidRequest("metadata.user_id must be a string")
    translated: Object = {"metadata": metadata} if metadata else {}
    if user and body.get("user") is None:
        translated["user"] = user if len(user) <= _LONGEST_USER else sha256(user.encode()).hexdigest()
    return translated


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise InvalidRequest(f"'{name}' must be an object")
    return value or {}


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list | None):
        raise InvalidRequest(f"'{name}' must be a list")
    return value or []
