"""Prefect artifacts that a person can read. A key gives an artifact a timeline across runs."""

import base64
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)


def artifact_key(*parts: str) -> str:
    """Lower-case letters, digits and dashes, as Prefect wants keys."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def table(key: str, rows: Sequence[Mapping[str, Any]], description: str = "") -> None:
    """A table with one mapping per row; an empty one says so instead of vanishing."""
    shown = [{name: readable(value) for name, value in row.items()} for row in rows]
    create_table_artifact(table=shown or [{"": "nothing to show"}], key=key, description=description)


def markdown(key: str, text: str, description: str = "") -> None:
    create_markdown_artifact(markdown=text, key=key, description=description)


def link(key: str, url: str, text: str, description: str = "") -> None:
    create_link_artifact(link=url, link_text=text, key=key, description=description)


def image(key: str, png: bytes, description: str = "") -> None:
    """A picture that needs no server of its own: it is in the artifact."""
    _image(key, "image/png", png, description)


def drawing(key: str, svg: str, description: str = "") -> None:
    """An SVG file in the artifact itself."""
    _image(key, "image/svg+xml", svg.encode(), description)


def _image(key: str, kind: str, content: bytes, description: str) -> None:
    address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    create_image_artifact(image_url=address, key=key, description=description)


class Progress:
    """A bar per key on the page of the run: drawn when it is first shown, moved afterwards."""

    def __init__(self) -> None:
        self._drawn: dict[str, UUID] = {}

    def show(self, key: str, share: float, description: str = "") -> None:
        """``share`` in [0, 1]."""
        percent = round(100 * share, 1)
        known = self._drawn.get(key)
        if known is None:
            made = create_progress_artifact(progress=percent, key=key, description=description)
            self._drawn[key] = cast(UUID, made)  # its type says that it may have to be awaited: not in a sync flow
        else:
            update_progress_artifact(artifact_id=known, progress=percent, description=description)


def readable(value: Any) -> Any:
    """Numbers rounded to what a person compares; unknown as a dash."""
    if value is None:
        return "–"
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return round(value, 6 if abs(value) < 0.01 else 3)
    return value


def markdown_table(rows: Sequence[Mapping[str, Any]], limit: int = 20) -> str:
    """Rows as a Markdown table; long cells are cut, and what is beyond the limit is counted."""
    if not rows:
        return "*nothing to show*\n"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in columns) + " |" for row in rows[:limit]]
    if len(rows) > limit:
        lines.append(f"\n… and {len(rows) - limit} more")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    text = " ".join(str(readable(value)).split()).replace("|", "\\|")
    return text if len(text) <= 160 else text[:157] + "…"
