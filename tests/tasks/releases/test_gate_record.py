"""A gate that is kept with what it decided on comes out the same again, and not when a score was changed."""

import json
from typing import Any

import pytest

from tasks.releases.gate_record import gate_difference, gate_record
from tasks.statistics.gate import GatePolicy, decide_gate
from tasks.statistics.gate_items import ItemResult
from tasks.statistics.gate_metric import MetricRule


def kept(now: float) -> dict[str, Any]:
    """Evidence of a gate as the ledger gives it back."""
    items = [
        ItemResult(f"g-{n}", {"score": (now - n % 3 / 50,)}, {"score": (0.9 - n % 4 / 50,)}, ("plan",) if n % 2 else ())
        for n in range(40)
    ]
    items.append(ItemResult("m-1", must_pass=(True,)))
    policy = GatePolicy((MetricRule("score", margin=0.1),))
    evidence = {"verdict": decide_gate(items, policy).to_json(), **gate_record(items, policy)}
    found: dict[str, Any] = json.loads(json.dumps(evidence))
    return found


@pytest.mark.parametrize("now", [0.9, 0.5, 0.81])
def test_it_comes_out_the_same(now: float) -> None:
    assert gate_difference(kept(now)) == ""


def test_a_changed_score_is_found() -> None:
    evidence = kept(0.9)
    evidence["items"][3]["candidate"]["score"] = [0.1]
    assert "reasons.0 is" in gate_difference(evidence)


def test_a_changed_verdict_is_found() -> None:
    evidence = kept(0.5)
    assert evidence["verdict"]["outcome"] == "fail"
    evidence["verdict"]["outcome"] = "pass"
    assert gate_difference(evidence) == "the verdict comes out as 'fail', the ledger says 'pass'"


def test_items_that_make_no_sense_are_told() -> None:
    evidence = kept(0.9)
    evidence["items"][0]["candidate"]["score"] = [7.0]
    assert "cannot be read" in gate_difference(evidence)


def test_without_its_items_nothing_is_claimed() -> None:
    assert gate_difference({"verdict": {"outcome": "pass"}}) == ""
