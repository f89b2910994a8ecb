"""Anthropic's messages body in OpenAI's terms, then read into a Call as any other. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages. Text, images, tools, tool results and structured output
become OpenAI's; what OpenAI has no word for (``thinking``, ``top_k``, ``cache_control``, documents ...) stays as it is,
for the providers that know it. Nothing is dropped but the user's id, which is ``Call.user`` and no parameter.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from gateway.api.chat_request import MANAGED, model_ref, read_call
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
    translated["messages"] = [*_system(body.get("system")), *_messages(body.get("messages"))]
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


def _system(value: object) -> list[Object]:
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, str):
        return [{"role": "system", "content": value}]
    parts = _parts(value, "system") if isinstance(value, list) else []
    if not parts or any(part["type"] != "text" for part in parts):
        raise InvalidRequest("'system' must be a string or a list of text blocks")
    return [{"role": "system", "content": parts}]


def _messages(value: object) -> list[Object]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest("'messages' must be a list")
    translated: list[Object] = []
    for index, message in enumerate(value):
        where = f"messages[{index}]"
        match message:
            case {"role": "user" | "system" as role, "content": str(content)}:
                translated.append({"role": role, "content": content})
            case {"role": "assistant", "content": str(content)}:
                translated.append({"role": "assistant", "content": content})
            case {"role": "user" | "system" as role, "content": list(blocks)}:
                translated += _user(role, blocks, where)
            case {"role": "assistant", "content": list(blocks)}:
                translated.append(_assistant(blocks, where))
            case {"role": str(role)} if role not in ("user", "assistant", "system"):
                raise InvalidRequest(f"{where}: the role must be 'user' or 'assistant'")
            case _:
                raise InvalidRequest(f"{where} must be an object with 'role' and 'content'")
    return translated


def _user(role: str, blocks: Sequence[Any], where: str) -> list[Object]:
    """Tool results are messages of their own for OpenAI; the order stays."""
    messages: list[Object] = []
    parts: list[Any] = []
    for index, block in enumerate(blocks):
        if isinstance(block, Mapping) and block.get("type") == "tool_result":
            if parts:
                messages.append({"role": role, "content": _parts(parts, where)})
                parts = []
            messages.append(_tool_result(block, f"{where}.content[{index}]"))
        else:
            parts.append(block)
    if parts or not messages:
        messages.append({"role": role, "content": _parts(parts, where)})
    return messages


def _tool_result(block: Mapping[str, Any], where: str) -> Object:
    """What the block says beyond OpenAI's message stays on it; its cache mark moves to its last part."""
    identity, content = block.get("tool_use_id"), block.get("content", "")
    if not isinstance(identity, str) or not isinstance(content, str | list):
        raise InvalidRequest(f"{where}: a tool result needs 'tool_use_id', and 'content' as a string or list")
    mark = block.get("cache_control")
    if isinstance(content, list):
        content = _parts(content, where)
        if mark and content:
            content[-1] = {**content[-1], "cache_control": mark}
    elif mark:
        content = [{"type": "text", "text": content, "cache_control": mark}]
    rest = {
        name: value
        for name, value in block.items()
        if name not in ("type", "tool_use_id", "content", "cache_control") and value not in (None, False)
    }
    return {"role": "tool", "tool_call_id": identity, "content": content, **rest}


def _assistant(blocks: Sequence[Any], where: str) -> Object:
    """Thinking goes into ``thinking_blocks`` as it came: only its signature makes it of use, and only to Anthropic."""
    parts: list[Any] = []
    calls: list[Object] = []
    thoughts: list[Any] = []
    for index, block in enumerate(blocks):
        match block:
            case {"type": "tool_use"}:
                calls.append(_tool_call(block, f"{where}.content[{index}]"))
            case {"type": "thinking", "signature": str(signature)} if signature:
                thoughts.append(block)
            case {"type": "thinking"}:
                pass  # without a signature it is no thought of Anthropic's, and would be refused
            case {"type": "redacted_thinking"}:
                thoughts.append(block)
            case _:
                parts.append(block)
    message: Object = {"role": "assistant", "content": _parts(parts, where) or None}
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def _tool_call(block: Mapping[str, Any], where: str) -> Object:
    identity, name, given = block.get("id"), block.get("name"), block.get("input", {})
    if not isinstance(identity, str) or not isinstance(name, str) or not isinstance(given, dict):
        raise InvalidRequest(f"{where}: a tool use needs 'id', 'name' and an object as 'input'")
    call: Object = {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": msgspec.json.encode(given).decode()},
    }
    return call | {
        key: value for key, value in block.items() if key not in ("type", "id", "name", "input") and value is not None
    }


def _parts(blocks: Sequence[Any], where: str) -> list[Object]:
    parts: list[Object] = []
    for index, block in enumerate(blocks):
        match block:
            case {"type": "text", "text": str()}:
                parts.append({name: value for name, value in block.items() if value is not None})
            case {"type": "image", "source": {"type": "base64", "media_type": str(kind), "data": str(data)}}:
                parts.append(_image(block, f"data:{kind};base64,{data}"))
            case {"type": "image", "source": {"type": "url", "url": str(url)}}:
                parts.append(_image(block, url))
            case {"type": str(kind)} if kind != "text":
                parts.append(dict(block))  # one of Anthropic's own
            case _:
                raise InvalidRequest(
                    f"{where}: content block {index} must be an object with a 'type', and text with its 'text'"
                )
    return parts


def _image(block: Mapping[str, Any], url: str) -> Object:
    part: Object = {"type": "image_url", "image_url": {"url": url}}
    if block.get("cache_control"):
        part["cache_control"] = block["cache_control"]
    return part


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
