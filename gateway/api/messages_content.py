"""Anthropic's system prompt and turns as OpenAI's messages. Pure.

Protocol: https://platform.claude.com/docs/en/api/messages. Blocks that OpenAI has no word for stay as they are, and so
does what a block says beyond OpenAI's (``cache_control``, ``is_error``).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import InvalidRequest

Object = dict[str, Any]


def system_message(value: object) -> list[Object]:
    """At most one message. Raises InvalidRequest."""
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, str):
        return [{"role": "system", "content": value}]
    parts = _parts(value, "system") if isinstance(value, list) else []
    if not parts or any(part["type"] != "text" for part in parts):
        raise InvalidRequest("'system' must be a string or a list of text blocks")
    return [{"role": "system", "content": parts}]


def chat_messages(value: object) -> list[Object]:
    """Raises InvalidRequest, naming the message."""
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
