"""Rows that the tests of the watching tasks share."""

from decimal import Decimal
from typing import Any

from sqlalchemy import Engine

from gateway.storage.engine import writing
from gateway.storage.models import CallRow, DocumentRow, PromptRow, PromptVersionRow

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def call_row(identity: str, **changes: Any) -> CallRow:
    """A live, answered, uncached call of ``help`` 1.0.0 by OpenAI for one cent."""
    values: dict[str, Any] = {
        "id": identity,
        "tenant": "acme",
        "origin": "live",
        "prompt": "help",
        "version": "1.0.0",
        "user": "",
        "started_at": NOW,
        "latency_ms": 20.0,
        "status": "ok",
        "layer": "none",
        "provider": "openai",
        "model": "small",
        "input_tokens": 80,
        "output_tokens": 20,
        "cost_usd": Decimal("0.01"),
        "saved_usd": Decimal(0),
        "documents": [],
        "variables": {"question": "Why?"},
        "question": "Why?",
        "answer": "Because.",
        "attempts": [],
        "price": {},
    }
    return CallRow(**(values | changes))


def add(engine: Engine, *rows: Any) -> None:
    with writing(engine) as session:
        session.add_all(rows)


def prompt_rows(name: str = "help", production: str = "1.0.0", **changes: Any) -> list[Any]:
    """A prompt with a version in production; ``changes`` are the version's."""
    values: dict[str, Any] = {"digest": "d", "bundle": {}, "spec": {}, "source": "", "created_at": NOW}
    version = PromptVersionRow(tenant="acme", name=name, version=production, **(values | changes))
    return [PromptRow(tenant="acme", name=name, production=production, previous="", updated_at=NOW), version]


def document_row(identity: str, version: int = 1, **changes: Any) -> DocumentRow:
    values: dict[str, Any] = {
        "tenant": "acme",
        "collection": "articles",
        "revision": version,
        "digest": "d",
        "updated_at": NOW,
        "deleted": False,
        "refreshed_version": 0,
    }
    return DocumentRow(id=identity, version=version, **(values | changes))
