"""Server-sent events of a response, as (name, data)."""

import json
from typing import Any

import httpx


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    """Every event of the body; ``message`` where it has no name, as the standard says. Checks the framing."""
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n")
    found: list[tuple[str, Any]] = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = fields["data"]
        found.append((fields.get("event", "message"), data if data == "[DONE]" else json.loads(data)))
    return found
