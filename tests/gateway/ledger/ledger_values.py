"""Calls, answers and rows that the ledger's tests share."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from gateway.ledger.records import CALL, CallRecord, call_record
from gateway.ledger.spool import Spool
from gateway.storage.engine import reading
from gateway.storage.models import CallRow
from gateway.types import Answer, Call, Cost, Layer, Reply, Usage


def call(identity: str = "call_1", **changes: Any) -> Call:
    values: dict[str, Any] = {"id": identity, "tenant": "acme", "received_at": 1_000.0, "prompt": "help"}
    return Call(**(values | changes))


def answer(of: Call | None = None, text: str = "Within 30 days.", **changes: Any) -> Answer:
    reply = Reply(
        message={"role": "assistant", "content": text},
        finish_reason="stop",
        provider="openai",
        model="small",
        usage=Usage(input_tokens=120, output_tokens=30, cached_input_tokens=20),
    )
    values: dict[str, Any] = {
        "call": of or call(),
        "reply": reply,
        "layer": Layer.NONE,
        "cost": Cost(Decimal("0.0025"), Decimal("0.4"), Decimal("1.6"), "2026-11"),
        "latency_ms": 12.5,
    }
    return Answer(**(values | changes))


def record(identity: str, text: str = "Within 30 days.") -> CallRecord:
    return call_record(answer(call(identity, variables={"question": "May I return it?"}), text), content=True)


def spool_at(root: Path, instance: str = "worker", **changes: Any) -> Spool:
    return Spool(root, instance, **({"max_bytes": 10_000_000} | changes))


def append(spool: Spool, *identities: str) -> None:
    for identity in identities:
        spool.append(CALL, record(identity))


def stored(engine: Engine) -> list[str]:
    """Ids of all calls in SQL, sorted."""
    with reading(engine) as session:
        return sorted(session.scalars(select(CallRow.id)))


def spools_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and path.name != "rejected")
