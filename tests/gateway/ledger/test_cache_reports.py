"""What the ledger says about the cache, on both databases."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.ledger.cache_reports import (
    LATENCY_EDGES,
    layer_history,
    layer_latencies,
    layer_looks,
    quantile,
    repetition,
    volumes,
)
from gateway.storage.engine import writing
from gateway.storage.models import CallRow

NOW = 1_700_000_000.0


def add(engine: Engine, *changes: dict[str, Any]) -> None:
    with writing(engine) as session:
        for number, change in enumerate(changes):
            question = change.pop("ask", "Why?")
            values: dict[str, Any] = {
                "id": f"call_{number}",
                "tenant": "acme",
                "origin": "live",
                "prompt": "help",
                "version": "1.0.0",
                "started_at": NOW,
                "latency_ms": 400.0,
                "status": "ok",
                "layer": "none",
                "input_tokens": 80,
                "output_tokens": 20,
                "cost_usd": Decimal("0.01"),
                "saved_usd": Decimal(0),
                "documents": ["doc:c/a@1"],
                "variables": {"question": question},
                "question": question,
            }
            session.add(CallRow(**(values | change)))


HIT: dict[str, Any] = {"layer": "exact", "cost_usd": Decimal(0), "saved_usd": Decimal("0.01"), "latency_ms": 1.0}
NOT_OURS: tuple[dict[str, Any], ...] = (
    {"tenant": "another"},
    {"origin": "warm"},
    {"kind": "embedding"},
    {"started_at": NOW + 100},
    {"started_at": NOW - 1},
)


def test_layers_over_time(engine: Engine) -> None:
    add(
        engine,
        {},
        dict(HIT),
        HIT | {"started_at": NOW + 55, "saved_usd": None},
        HIT | {"started_at": NOW + 99.9, "prompt": "other"},
        {"status": "failed", "cost_usd": None},
        *(dict(one) for one in NOT_OURS),
    )
    found = layer_history(engine, NOW, NOW + 100, 10, tenant="acme")
    assert [(one.bucket, one.layer, one.calls, one.unpriced) for one in found] == [
        (0, "exact", 1, 0),
        (0, "none", 1, 0),
        (5, "exact", 1, 1),
        (9, "exact", 1, 0),
    ]
    assert (found[0].saved_usd, found[1].cost_usd) == (Decimal("0.01"), Decimal("0.01"))
    assert len(layer_history(engine, NOW, NOW + 100, 10, tenant="acme", prompt="other")) == 1


def test_latency_by_layer(engine: Engine) -> None:
    add(engine, {}, {"latency_ms": 1e9}, dict(HIT), HIT | {"latency_ms": 2.0}, *(dict(one) for one in NOT_OURS))
    found = layer_latencies(engine, NOW, NOW + 100, tenant="acme")
    assert {layer: sum(bins) for layer, bins in found.items()} == {"none": 2, "exact": 2}
    assert quantile(found["none"], 0.5) == pytest.approx(400, rel=0.13)
    assert quantile(found["none"], 1.0) == LATENCY_EDGES[-1]
    assert quantile(found["exact"], 0.5) == pytest.approx(1.0, rel=0.13)
    assert quantile(found["exact"], 0.95) == pytest.approx(2.0, rel=0.13)


def test_what_each_layer_said(engine: Engine) -> None:
    told = {"layers": {"local": "miss", "exact": "miss", "semantic": "shadow", "embedding": "hit", "context": "miss"}}
    add(
        engine,
        {"explanation": told},
        {"explanation": {"layers": told["layers"] | {"embedding": "miss"}}},
        HIT | {"cache_reason": "hit", "explanation": {}},  # said by the row itself
        HIT | {"cache_reason": "revalidated", "explanation": {"layers": {"local": "miss", "exact": "epoch"}}},
        *(dict(one) for one in NOT_OURS),
    )
    found = layer_looks(engine, NOW, NOW + 100, tenant="acme")
    assert [(one.layer, one.asked, one.hits) for one in found] == [
        ("local", 3, 0),
        ("exact", 4, 2),
        ("semantic", 2, 0),
        ("embedding", 2, 1),
        ("context", 2, 0),
    ]
    assert dict(found[2].reasons) == {"shadow": 2}


@given(
    st.lists(st.floats(0.11, LATENCY_EDGES[-1] * 0.99), min_size=1, max_size=60),
    st.sampled_from([0.01, 0.5, 0.9, 0.95, 1.0]),
)
def test_a_quantile_is_nearly_the_nearest_rank(values: list[float], share: float) -> None:
    bins = [0] * (len(LATENCY_EDGES) + 1)
    for value in values:
        bins[next(place for place, edge in enumerate(LATENCY_EDGES) if value <= edge)] += 1
    exact = sorted(values)[max(1, -(-int(len(values) * share * 1_000_000) // 1_000_000)) - 1]
    assert quantile(bins, share) == pytest.approx(exact, rel=0.13)


def test_no_answer_has_no_quantile() -> None:
    assert quantile([0, 0], 0.5) is None


def test_volume_prices_what_was_paid_for(engine: Engine) -> None:
    add(
        engine,
        {"user": "u"},
        {"cost_usd": Decimal("0.03"), "input_tokens": 120, "started_at": NOW + 9},
        {"cost_usd": None, "input_tokens": 10_000},
        HIT | {"input_tokens": 10_000},
        {"status": "failed", "cost_usd": None},
        {"prompt": "", "version": ""},
        *(dict(one) for one in NOT_OURS),
    )
    (found,) = volumes(engine, NOW, NOW + 100, tenant="acme")
    assert (found.prompt, found.calls, found.failed, found.with_user) == ("help", 5, 1, 1)
    assert found.cost_per_call == pytest.approx(0.02)
    assert (found.input_tokens, found.output_tokens) == (100.0, 20.0)
    assert (found.first_at, found.last_at) == (NOW, NOW + 9)


def test_without_a_price_there_is_no_cost(engine: Engine) -> None:
    add(engine, {"cost_usd": None})
    assert volumes(engine, NOW, NOW + 100, tenant="acme")[0].cost_per_call is None


def test_repetition(engine: Engine) -> None:
    add(
        engine,
        {"ask": "a"},
        HIT | {"ask": "a", "started_at": NOW + 50},
        {"ask": "a", "started_at": NOW + 60, "documents": ["doc:c/a@2"]},
        {"ask": "b"},
        {"ask": "c", "version": "1.1.0", "documents": ["doc:c/x@1"]},
        {"ask": "c", "documents": ["doc:c/a@1"]},
        {"ask": None, "variables": None},
        *(dict(one) for one in NOT_OURS),
    )
    found = repetition(engine, NOW, NOW + 100, tenant="acme", prompt="help")
    assert (found.calls, found.questions, found.head) == (6, 4, 1.0)
    assert (found.observed, found.changes) == (60.0, 1)
    nothing = repetition(engine, NOW, NOW + 100, tenant="acme", prompt="other")
    assert (nothing.calls, nothing.questions, nothing.head) == (0, 0, 0.0)
