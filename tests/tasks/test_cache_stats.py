"""Statistics of the cache over layers and time, and that their pictures are pictures."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cache.memory import RedisMemory
from gateway.clock import ManualClock
from gateway.ledger.cache_reports import LATENCY_EDGES, LayerCount
from gateway.settings import Settings
from gateway.storage.models import SemanticPairRow, SemanticVerdictRow
from tasks.cache_facts import prompt_facts
from tasks.cache_history import KEPT_FOR, incidents, memory_points, note_memory, note_probe
from tasks.cache_plots import cold_and_warm, memory_over_time, overview
from tasks.cache_stats import BUCKETS, by_layer, cache_stats
from tasks.wrong_hits import wrong_hits
from tests.tasks.rows import NOW, add, call_row

PNG = b"\x89PNG\r\n\x1a\n"
HIT: dict[str, Any] = {"layer": "exact", "cost_usd": Decimal(0), "saved_usd": Decimal("0.01"), "latency_ms": 1.0}


def count(bucket: int, layer: str, calls: int, saved: str = "0") -> LayerCount:
    return LayerCount(
        bucket=bucket, layer=layer, calls=calls, cost_usd=Decimal(0), saved_usd=Decimal(saved), unpriced=0
    )


def test_layers_stand_in_the_order_in_which_they_are_asked() -> None:
    history = [count(0, "none", 2), count(1, "none", 1), count(1, "exact", 5, "0.5"), count(2, "local", 2, "0.1")]
    bins = {"exact": [0] * 10 + [5] + [0] * (len(LATENCY_EDGES) - 10)}
    found = by_layer(history, bins)
    assert [(one.layer, one.calls, one.share) for one in found] == [
        ("local", 2, 0.2),
        ("exact", 5, 0.5),
        ("none", 3, 0.3),
    ]
    assert (found[1].saved_usd, found[2].p50_ms) == (Decimal("0.5"), None)
    assert found[1].p50_ms == found[1].p95_ms == pytest.approx(LATENCY_EDGES[10], rel=0.13)
    assert by_layer([], {}) == []


def test_a_window_of_the_ledger(settings: Settings, ledger: Engine) -> None:
    clock = ManualClock(NOW)
    add(
        ledger,
        call_row("1", started_at=NOW - 86_000),
        call_row("2", started_at=NOW - 10, **HIT),
        call_row("3", started_at=NOW - 90_000),
        call_row("4", started_at=NOW - 10, prompt="other"),
        call_row("5", started_at=NOW - 10, origin="warm"),
    )
    stats = cache_stats.fn(settings, clock, "acme", "help", NOW - 86_400)
    assert (stats.calls, stats.hits, stats.hit_rate) == (2, 1, 0.5)
    assert (stats.cost_usd, stats.saved_usd) == (Decimal("0.01"), Decimal("0.01"))
    assert len(stats.buckets) == len(stats.bucket_starts) == BUCKETS
    assert (list(stats.buckets[0]), list(stats.buckets[-1])) == (["none"], ["exact"])
    assert stats.memory is None
    assert cache_stats.fn(settings, clock, "acme", "", NOW - 86_400).calls == 3
    assert overview(stats).startswith(PNG)
    assert overview(cache_stats.fn(settings, clock, "nobody", "", NOW - 86_400)).startswith(PNG)


def test_pictures() -> None:
    assert cold_and_warm([400.0, 900.0], [1.0]).startswith(PNG)
    assert memory_over_time([(NOW, 10), (NOW + 60, 20)], 0).startswith(PNG)


def test_what_probes_found_is_kept_for_a_while(settings: Settings, ledger: Engine) -> None:
    clock = ManualClock(NOW)
    note_probe.fn(settings, clock, "update_documents", "acme", "articles", 3, ["first"])
    note_probe.fn(settings, clock, "invalidate_cache", "", "", 0, [])  # looked at nothing
    note_memory.fn(settings, clock, RedisMemory(used=10, limit=100, evicted=2))
    clock.advance(60)
    note_probe.fn(settings, clock, "invalidate_cache", "", "", 200, [])
    note_memory.fn(settings, clock, RedisMemory(used=20, limit=100, evicted=2))
    found = incidents(ledger, NOW - 1, clock.now())
    assert (found.probes, found.probed, found.found, list(found.stale)) == (2, 203, 1, ["first"])
    assert incidents(ledger, NOW + 1, clock.now()).found == 0
    assert [(one.at, one.used) for one in memory_points(ledger, NOW - 1, clock.now())] == [(NOW, 10), (NOW + 60, 20)]
    clock.advance(KEPT_FOR)
    note_probe.fn(settings, clock, "invalidate_cache", "", "", 1, [])
    note_memory.fn(settings, clock, RedisMemory(used=30, limit=100))
    assert incidents(ledger, 0, clock.now()).probes == 2
    assert len(memory_points(ledger, 0, clock.now())) == 2


def test_facts_of_a_prompt(settings: Settings, ledger: Engine) -> None:
    clock = ManualClock(NOW)

    def asked(name: str, text: str, ago: float, **changes: Any) -> Any:
        return call_row(name, started_at=NOW - ago, variables={"question": text}, question=text, **changes)

    add(
        ledger,
        asked("1", "a", 7200, documents=["doc:articles/x@1"]),
        asked("2", "a", 3600, documents=["doc:articles/x@1"], **HIT),
        asked("3", "a", 0.5, documents=["doc:articles/x@2"]),
        asked("4", "b", 60, user="somebody"),
    )
    (facts,) = prompt_facts.fn(settings, clock, "acme", "help", NOW - 86_400)
    assert (facts.calls, facts.looked_at, facts.questions, facts.hit_rate) == (4, 4, 2, 0.25)
    assert facts.days == pytest.approx(7200 / 86_400)
    assert facts.answer_life == pytest.approx(7199.5)  # one change within the time that "a" was watched
    assert facts.freshness == pytest.approx(7199.5)
    assert facts.with_user == 0.25
    assert facts.cost_per_call == pytest.approx(0.01)
    assert (facts.memory_growth, facts.incidents) == (None, 0)


def test_wrong_hits_are_those_that_were_served_and_judged(ledger: Engine) -> None:
    scope = {"tenant": "acme", "prompt": "help", "version": "1.0.0", "recipe": "r"}

    def pair(name: str, **changes: Any) -> SemanticPairRow:
        values: dict[str, Any] = {"asked": "a", "kept": "b", "similarity": 0.9, "served": True, "at": NOW}
        return SemanticPairRow(id=name, **(scope | values | changes))

    add(
        ledger,
        SemanticVerdictRow(**scope, state="serving", upper=0.02, max_wrong=0.03, updated_at=NOW),
        SemanticVerdictRow(**(scope | {"version": "1.1.0"}), state="collecting", max_wrong=0.03, updated_at=NOW),
        SemanticVerdictRow(**(scope | {"tenant": "other"}), state="serving", max_wrong=0.03, updated_at=NOW),
        pair("right", correct=True),
        pair("wrong", correct=False),
        pair("waits"),
        pair("shadow", served=False, correct=False),
        pair("old", at=NOW - 100, correct=False),
        pair("theirs", tenant="other", correct=False),
    )
    first, second = wrong_hits(ledger, "acme", "", NOW - 10)
    assert (first.state, first.judged, first.wrong, first.share, first.bound) == ("serving", 2, 1, 0.5, 0.02)
    assert (second.version, second.judged, second.share, second.bound) == ("1.1.0", 0, None, 1.0)
    assert wrong_hits(ledger, "acme", "another", 0.0) == []
