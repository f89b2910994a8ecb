"""Answers in JSON: which keys were asked for, and what belongs under each."""

import json
import re
from collections.abc import Mapping
from typing import Any

from .composing import Draft

_QUOTED_KEY = re.compile(r"[\"'`“]([A-Za-z_][\w .-]{0,40})[\"'`”]\s*:")
_LISTED = re.compile(
    r"\b(?:keys?|fields?|properties|attributes|members)\b\s*(?:are|is|named|called|:)?\s*([^.\n{]{2,200})",
    re.IGNORECASE,
)
_NAME = re.compile(r"[\"'`“]?\b([A-Za-z_]\w{1,40})\b[\"'`”]?")
_LIST_WORDS = """
    and or the a an with only exactly as which in of each to be is are two three four following must named called keys
"""
_NOT_NAMES = frozenset(_LIST_WORDS.split())


def wanted_keys(text: str) -> tuple[str, ...]:
    """Keys that a prompt names, in order: from an example object, else from "with the keys a, b and c"."""
    keys = tuple(dict.fromkeys(_QUOTED_KEY.findall(text)))
    if keys:
        return keys
    listed = _LISTED.search(text)
    if not listed:
        return ()
    quoted = re.findall(r"[\"'`“]([A-Za-z_]\w*)[\"'`”]", listed[1])
    names = quoted or [n for n in _NAME.findall(listed[1].split(" where ")[0]) if n.lower() not in _NOT_NAMES]
    return tuple(dict.fromkeys(names))[:8]


def answer_as_json(draft: Draft, text: str, schema: Mapping[str, Any] | None) -> str:
    """`draft` as a JSON object in the keys of `schema`, else those named in `text`, else answer and sources."""
    if schema is not None:
        return json.dumps(fill_schema(schema, draft), ensure_ascii=False)
    keys = wanted_keys(text) or ("answer", "sources")
    return json.dumps({key: _value_for(key, draft) for key in keys}, ensure_ascii=False)


def fill_schema(schema: Mapping[str, Any], draft: Draft, key: str = "answer") -> Any:
    """A value that satisfies a JSON schema's types, required names and enumerations (no `$ref`, no combinators)."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    kind = next((k for k in kind if k != "null"), "string") if isinstance(kind, list) else kind
    if kind == "object" or "properties" in schema:
        return {name: fill_schema(inner, draft, name) for name, inner in schema.get("properties", {}).items()}
    value = _value_for(key, draft)
    if kind == "array":
        items = value if isinstance(value, list) else [value]
        return [i if isinstance(i, str) else fill_schema(schema.get("items", {}), draft, key) for i in items]
    if kind == "boolean":
        return value if isinstance(value, bool) else draft.known
    if kind in ("number", "integer"):
        number = value if isinstance(value, float) else float(draft.known)
        return int(number) if kind == "integer" else number
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value_for(key: str, draft: Draft) -> Any:
    name = key.lower()
    if re.search(r"source|citation|reference|document|article", name):
        return [c.strip("[]").removeprefix("doc:") for c in draft.citations]
    if re.search(r"confidence|probability|certainty", name):
        return 0.9 if draft.known else 0.1
    if re.search(r"^(?:is_|has_)|known|found|answerable|answered|resolved|success", name):
        return draft.known
    return draft.text
