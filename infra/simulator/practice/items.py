"""Several tasks in one prompt: elements ``<item id="...">``, answered by a list of objects that carry the ids.

It is only tried where the schema of the reply is an object with such a list.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .replying import Prompt

_ITEM = re.compile(r'<item id="(?P<id>[^"]{1,40})">\n?(?P<body>.*?)\n?</item>', re.DOTALL)


def split_items(prompt: "Prompt") -> dict[str, "Prompt"]:
    """The tasks by id, each a prompt of its own; empty when the prompt is a single task."""
    listed = _list_of(prompt.schema)
    role, text = prompt.messages[-1] if prompt.messages else ("", "")
    if listed is None or role != "user":
        return {}
    schema = {**listed[1], "properties": {k: v for k, v in listed[1]["properties"].items() if k != "id"}}
    return {
        match["id"]: replace(prompt, messages=(*prompt.messages[:-1], ("user", match["body"])), schema=schema)
        for match in _ITEM.finditer(text)
    }


def join_replies(prompt: "Prompt", replies: Mapping[str, str]) -> str:
    """One reply of the single ones; what is no JSON object is left out."""
    listed = _list_of(prompt.schema)
    rows = [{"id": identity, **value} for identity, text in replies.items() if (value := _object(text)) is not None]
    return json.dumps({listed[0] if listed else "items": rows}, ensure_ascii=False)


def _list_of(schema: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any]] | None:
    """Name and item schema of the only property, when it is a list of objects with an id."""
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict) or len(properties) != 1:
        return None
    name, inner = next(iter(properties.items()))
    items = inner.get("items") if isinstance(inner, dict) and inner.get("type") == "array" else None
    if not isinstance(items, dict) or "id" not in items.get("properties", {}):
        return None
    return name, items


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
