"""OpenAI's chat messages as Anthropic's system prompt and turns. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.providers.unsent import lacks, malformed
from gateway.types import Completion, Message

Blocks = list[dict[str, Any]]
_PARTS = frozenset({"text", "refusal", "image_url", "image", "document", "search_result"})
_DATA_URL = re.compile(r"data:(image/(?:jpeg|png|gif|webp));base64,(.+)", re.DOTALL)


def translate_messages(request: Completion) -> tuple[str | Blocks, list[dict[str, Any]]]:
    """``(system, messages)``. System and developer messages, wherever they stand, make up the system prompt.

    Raises ``ProviderLacksFeature`` for content that Anthropic does not take, and ``ProviderRejectedRequest`` for
    messages that are not of OpenAI's shape.
    """
    system: Blocks = []
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if not isinstance(message, Mapping):
            raise malformed(request, "a message must be an object")
        role = message.get("role")
        if role in ("system", "developer"):
            system += _content(request, message.get("content"))
        elif role == "user":
            _append(turns, "user", _content(request, message.get("content")))
        elif role == "assistant":
            _append(turns, "assistant", _assistant(request, message))
        elif role == "tool":
            _append(turns, "user", [_tool_result(request, message)])
        elif role == "function":
            raise lacks(request, "this role of a message")
        else:
            raise malformed(request, "the role of a message must be one of those of chat completions")
    if not turns and system:
        turns, system = [{"role": "user", "content": system}], []  # OpenAI takes a lone system message
    for turn in turns:
        turn["content"] = _simplest(turn["content"])
    return _system(system), turns


def _append(turns: list[dict[str, Any]], role: str, blocks: Blocks) -> None:
    if role == "assistant" and not blocks:
        return  # Anthropic refuses an empty turn
    # results of parallel tool calls must come in one turn, so neighbours of one role are joined
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _simplest(blocks: Blocks) -> str | Blocks:
    """A single plain text as a string."""
    return blocks[0]["text"] if len(blocks) == 1 and _is_plain(blocks[0]) else blocks


def _system(blocks: Blocks) -> str | Blocks:
    """One string, unless a block carries more than text (``cache_control``)."""
    return "\n\n".join(block["text"] for block in blocks) if all(map(_is_plain, blocks)) else blocks


def _is_plain(block: dict[str, Any]) -> bool:
    return block.keys() == {"type", "text"}


def _content(request: Completion, content: object) -> Blocks:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list | tuple):
        raise malformed(request, "the content of a message must be a string or a list of parts")
    return [_part(request, part) for part in content]


def _part(request: Completion, part: Any) -> dict[str, Any]:
    match part:
        case {"type": "text", "text": str(text)}:
            block: dict[str, Any] = {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            block = {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            block = {"type": "image", "source": _image_source(request, url)}
        case {"type": "image" | "document" | "search_result", "source": _}:
            return dict(part)  # one of Anthropic's own
        case {"type": str(kind)} if kind not in _PARTS:
            raise lacks(request, "this kind of content")
        case _:
            raise malformed(request, "a part of a content must have a type and what belongs to it")
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _image_source(request: Completion, url: str) -> dict[str, str]:
    if match := _DATA_URL.fullmatch(url):
        return {"type": "base64", "media_type": match[1], "data": match[2]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise lacks(request, "this kind of image")


def _assistant(request: Completion, message: Message) -> Blocks:
    blocks = [block for block in _content(request, message.get("content")) if block.get("text") != ""]
    if not blocks and isinstance(refusal := message.get("refusal"), str) and refusal:
        blocks = [{"type": "text", "text": refusal}]
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise malformed(request, "tool_calls must be a list")
    for call in calls:
        match call:
            case {"id": str(identity), "function": {"name": str(name), "arguments": str(arguments)}}:
                blocks.append({"type": "tool_use", "id": identity, "name": name, "input": _input(request, arguments)})
            case {"type": "custom"}:
                raise lacks(request, "this kind of tool call")
            case _:
                raise malformed(request, "a tool call must have an id and a function with name and arguments")
    return blocks


def _input(request: Completion, arguments: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        raise malformed(request, "the arguments of a tool call must be a JSON object") from None


def _tool_result(request: Completion, message: Message) -> dict[str, Any]:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str):
        raise malformed(request, "the message of a tool must have a tool_call_id")
    return {
        "type": "tool_result",
        "tool_use_id": identity,
        "content": _simplest(_content(request, message.get("content"))),
    }
