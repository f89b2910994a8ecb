"""Queries over a ledger small enough to reckon by hand, on both databases."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import asdict
from sqlalchemy import Engine

from gateway.ledger.queries import (
    budget_spend,
    calls_between,
    frequent_questions,
    release_calls,
    spend,
    unscored_calls,
    version_metrics,
)
from gateway.ledger.records import CallRecord
from gateway.storage.engine import writing
from gateway.storage.models import CallRow, ScoreRow
from tests.gateway.ledger.ledger_values import record

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def row(identity: str, at: float, **changes: Any) -> CallRow:
    kept: CallRecord = record(identity)
    defaults = {
        "started_at": NOON + at, "version": "1.0.0", "user": "ann", "arm": "stable", "release_id": "rel_1",
        "cost_usd": Decimal("0.01"), "saved_usd": Decimal(0), "latency_ms": 100.0,
    }  # fmt: skip
    return CallRow(**(asdict(kept) | defaults | changes))


def score(call_id: str, metric: str, source: str, value: float, tenant: str = "acme") -> ScoreRow:
    return ScoreRow(call_id=call_id, metric=metric, source=source, tenant=tenant, value=value, scored_at=NOON + 50)


HIT = {"layer": "exact", "cost_usd": Decimal(0), "saved_usd": Decimal("0.01"), "latency_ms": 2.0}
FAILED = {"status": "failed", "error": "provider_timeout", "answer": None, "cost_usd": None, "latency_ms": 9_000.0}
WHY = {"question": "Why?", "variables": {"question": "Why?"}}


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    """Prompt ``help`` of acme: seven live calls of two versions, one judge's call, and noise that must not count,
    such as an embedding."""
    with writing(engine) as session:
        session.add_all(
            [
                row("c1", 1, **WHY),
                row("c2", 2, user="bob", latency_ms=300.0),
                row("c3", 3, user="bob", **HIT, **WHY),
                row("c4", 4, user="", **FAILED),
                row("d1", 5, version="1.1.0", arm="canary", evidence=True, latency_ms=50.0),
                row("d2", 6, version="1.1.0", arm="canary", user="eve", cost_usd=None, model="new", fell_back=True),
                row("d3", 7, version="1.1.0", arm="canary", user="eve", layer="coalesced", cost_usd=Decimal(0), **WHY),
                row("j1", 8, origin="judge", prompt="judge", version="", cost_usd=Decimal("0.5"), release_id=""),
                row("x1", 9, tenant="other", release_id="", cost_usd=Decimal(7)),
                row("x2", -90_000, release_id="", **WHY),
                row("e1", 4.5, kind="embedding", cost_usd=Decimal(0), latency_ms=1.0, **WHY),
                score("c1", "correct", "judge", 1.0),
                score("c1", "correct", "feedback", 0.0),
                score("c2", "correct", "judge", 0.5),
                score("d1", "helpful", "feedback", 0.25),
                score("d1", "helpful", "judge", 1.0, tenant="other"),
            ]
        )
    return engine


def test_calls_between_takes_live_calls_of_one_prompt_in_order(ledger: Engine) -> None:
    found = calls_between(ledger, "acme", "help", NOON, NOON + 7)
    assert [call.id for call in found] == ["c1", "c2", "c3", "c4", "d1", "d2"]
    assert [call.id for call in calls_between(ledger, "acme", "help", NOON, NOON + 100, limit=2)] == ["d2", "d3"]
    assert [call.id for call in calls_between(ledger, "acme", "judge", 0, 2e9, origins=("judge",))] == ["j1"]


def test_release_calls_carry_one_score_a_metric(ledger: Engine) -> None:
    found = {call.id: call for call in release_calls(ledger, "rel_1")}
    assert list(found) == ["c1", "c2", "c3", "c4", "d1", "d2", "d3"]
    assert found["c1"].scores == {"correct": 1.0}
    assert found["c1"].scored_at == {"correct": NOON + 50}
    assert found["d1"].scores == {"helpful": 0.25}
    assert found["d2"].scores == {}
    assert (found["d1"].arm, found["d1"].evidence, found["d2"].fell_back) == ("canary", True, True)
    assert release_calls(ledger, "rel_1", sources=("feedback",))[0].scores == {"correct": 0.0}
    assert release_calls(ledger, "unknown") == []


def test_unscored_calls_put_evidence_first_then_the_newest(ledger: Engine) -> None:
    assert [call.id for call in unscored_calls(ledger, NOON, 10, tenant="acme")] == ["d1", "d3", "d2", "c3"]
    assert [call.id for call in unscored_calls(ledger, NOON, 2, tenant="acme")] == ["d1", "d3"]
    assert [call.id for call in unscored_calls(ledger, NOON, 10, sources=("feedback",), prompt="help")] == [
        "x1", "d3", "d2", "c3", "c2",
    ]  # fmt: skip


def test_spend_groups_and_never_counts_unknown_as_nothing(ledger: Engine) -> None:
    groups = {
        (group.key["version"], group.key["kind"]): group
        for group in spend(ledger, NOON, NOON + 100, by=("version", "kind"), tenant="acme")
    }
    assert list(groups) == [("", "chat"), ("1.0.0", "chat"), ("1.1.0", "chat"), ("1.0.0", "embedding")]
    old, new = groups["1.0.0", "chat"], groups["1.1.0", "chat"]
    assert (old.calls, old.cached, old.failed, old.unpriced) == (4, 1, 1, 0)
    assert (old.cost_usd, old.saved_usd) == (Decimal("0.02"), Decimal("0.01"))
    assert (new.calls, new.cached, new.unpriced, new.cost_usd) == (3, 1, 1, Decimal("0.01"))
    assert (old.input_tokens, old.output_tokens) == (480, 120)
    [total] = spend(ledger, NOON, NOON + 100, by=())
    assert (total.calls, total.cost_usd) == (10, Decimal("7.53"))
    assert spend(ledger, 0, 1, by=()) == []
    with pytest.raises(ValueError, match="unknown dimensions"):
        spend(ledger, 0, 1, by=("question",))


def test_frequent_questions_count_what_can_be_asked_again(ledger: Engine) -> None:
    first, second = frequent_questions(ledger, "acme", "help", NOON, 10)
    assert (first.question, first.variables, first.count, first.last_asked) == (
        "Why?",
        {"question": "Why?"},
        3,
        NOON + 7,
    )
    assert (second.question, second.count) == ("May I return it?", 3)
    assert len(frequent_questions(ledger, "acme", "help", 0, 1)) == 1
    assert frequent_questions(ledger, "acme", "help", 0, 1)[0].count == 4


def test_what_is_personal_is_no_frequent_question(ledger: Engine) -> None:
    asked = {"question": "What is my balance?", "variables": {"question": "What is my balance?"}}
    with writing(ledger) as session:
        for number in range(9):
            session.add(row(f"personal-{number}", 9.0, cache_reason="bypass", **asked))
    assert "balance" not in str(frequent_questions(ledger, "acme", "help", NOON, 10))


def test_version_metrics_by_hand(ledger: Engine) -> None:
    old, new = version_metrics(ledger, "acme", "help", since=NOON)
    assert (old.version, old.calls, old.users, old.failures, old.cached, old.hit_rate) == ("1.0.0", 4, 2, 1, 1, 0.25)
    assert (old.latency_p50_ms, old.latency_p95_ms) == (100.0, 300.0)  # of 2, 100, 300: the failed call took no answer
    assert (old.scores, old.scored) == ({"correct": 0.5}, {"correct": 3})
    assert (old.cost_usd, old.first_at, old.last_at) == (Decimal("0.02"), NOON + 1, NOON + 4)
    assert (new.version, new.users, new.coalesced, new.fell_back) == ("1.1.0", 2, 1, 1)
    assert (new.scores, new.latency_p50_ms) == ({"helpful": 0.25}, 100.0)
    assert version_metrics(ledger, "acme", "unknown") == []


@pytest.mark.parametrize(
    ("tenant", "prompt", "day", "expected"),
    [
        ("acme", "help", DAY, "0.03"),
        ("acme", None, DAY, "0.53"),
        ("acme", "help", date(2026, 11, 19), "0.01"),
        ("acme", "help", date(2026, 11, 21), "0"),
        ("nobody", None, DAY, "0"),
    ],
)
def test_budget_spend_is_of_one_utc_day(
    tenant: str, prompt: str | None, day: date, expected: str, ledger: Engine
) -> None:
    assert budget_spend(ledger, tenant, prompt, day) == Decimal(expected)
