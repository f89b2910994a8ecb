"""A spec that is right, for tests that break one thing of it, and the folder that it lives in."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

GOOD: Mapping[str, Any] = {
    "schema": 1,
    "name": "help",
    "version": "1.0.0",
    "author": "somebody",
    "changelog": "first",
    "template": [
        {"role": "system", "content": "Answer from:\n{{context}}"},
        {"role": "user", "content": "{{question}}"},
    ],
    "variables": {"question": {"description": "what was asked", "max_chars": 200}},
    "retrieval": {"collection": "help", "query": "{{question}}", "top_k": 3, "into": "context"},
    "model": {"chain": ["openai/gpt-4.1-mini"], "temperature": 0, "max_tokens": 100},
    "gate": {"golden": "golden.jsonl", "must_pass": "must_pass.jsonl"},
}
GOLDEN = {"id": "g-1", "variables": {"question": "Why?"}, "reference": "Because."}
MUST_PASS = {
    "id": "m-1",
    "variables": {"question": "Why?"},
    "assertions": [{"type": "contains", "value": "because"}],
}


def changed(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The good spec with values set at dotted places; None takes a place away."""
    content: dict[str, Any] = deepcopy(dict(GOOD))
    for place, value in changes.items():
        *above, last = place.split(".")
        here: Any = content
        for step in above:
            here = here[int(step)] if isinstance(here, list) else here.setdefault(step, {})
        if isinstance(here, list):
            here[int(last)] = value
        elif value is None:
            here.pop(last, None)
        else:
            here[last] = value
    return content


def write_spec(
    folder: Path,
    content: Mapping[str, Any] | str,
    *,
    golden: Sequence[Mapping[str, Any] | str] = (GOLDEN,),
    must_pass: Sequence[Mapping[str, Any] | str] = (MUST_PASS,),
    name: str = "prompt.yaml",
) -> Path:
    """The spec and its datasets as files; texts are written as they are. Returns the spec's path."""
    for file, rows in (("golden.jsonl", golden), ("must_pass.jsonl", must_pass)):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(dict(content)), encoding="utf-8")
    return path
