"""What a gate decided on, kept with its verdict, so that the decision can be taken again. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from tasks.releases.differing import unequal
from tasks.statistics.gate import GatePolicy, decide_gate
from tasks.statistics.gate_items import ItemResult


def gate_record(items: Sequence[ItemResult], policy: GatePolicy) -> dict[str, Any]:
    """Items and policy as JSON."""
    return {"items": [asdict(item) for item in items], "policy": asdict(policy)}


def gate_difference(evidence: Mapping[str, Any]) -> str:
    """What differs when a kept gate is decided again; empty when nothing does, or when its items were not kept."""
    if not evidence.get("items") or not evidence.get("policy"):
        return ""
    try:
        items = msgspec.convert(evidence["items"], list[ItemResult])
        again = decide_gate(items, msgspec.convert(evidence["policy"], GatePolicy)).to_json()
    except (msgspec.ValidationError, ValueError) as error:
        return f"its items cannot be read: {error}"
    was, now = evidence["verdict"]["outcome"], again["outcome"]
    if was != now:
        return f"the verdict comes out as {now!r}, the ledger says {was!r}"
    return unequal(dict(evidence["verdict"]), msgspec.to_builtins(again))
