"""``promptyard cache stats`` and ``advise``: what they say, from the ledger alone, with everything else down."""

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from deployments.cli.windows import window
from gateway.clock import ManualClock, SystemClock
from gateway.errors import InvalidRequest, NotFound
from gateway.settings import Settings
from gateway.storage.engine import writing
from gateway.storage.models import CallRow
from tasks.cache_history import note_probe
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard, add_version, promote

DAY = 86_400.0


def add_calls(engine: Engine, questions: Sequence[str], **changes: Any) -> None:
    """Asked an hour ago; each repeat is a hit."""
    now = time.time()
    with writing(engine) as session:
        for number, text in enumerate(questions):
            hit = text in questions[:number]
            values: dict[str, Any] = {
                "id": f"call_{text}_{number}",
                "tenant": TENANT,
                "origin": "live",
                "prompt": PROMPT,
                "version": "1.0.0",
                "provider": "openai",
                "model": "m",
                "started_at": now - 3600 + number,
                "latency_ms": 2.0 if hit else 500.0,
                "status": "ok",
                "layer": "exact" if hit else "none",
                "input_tokens": 1500,
                "output_tokens": 100,
                "cost_usd": Decimal(0) if hit else Decimal("0.01"),
                "saved_usd": Decimal("0.01") if hit else Decimal(0),
                "variables": {"question": text},
                "question": text,
            }
            session.add(CallRow(**(values | changes)))


def test_stats(promptyard: Promptyard, ledger: Engine, environ: dict[str, str]) -> None:
    add_calls(ledger, ["a", "b", "a", "a"])
    add_calls(ledger, ["other"], tenant="acme")
    settings = Settings(database_url=environ["PROMPTYARD_DATABASE_URL"])
    note_probe.fn(settings, SystemClock(), "invalidate_cache", "", "", 50, ["entry: doc:c/d@1"])
    result = promptyard("cache", "stats", "--since", "2h", "--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert (plain["calls"], plain["hits"], plain["hit_rate"]) == (4, 2, 0.5)
    assert (plain["cost_usd"], plain["saved_usd"]) == (0.02, 0.02)
    assert [(one["layer"], one["calls"]) for one in plain["layers"]] == [("exact", 2), ("none", 2)]
    assert plain["layers"][0]["p50_ms"] == pytest.approx(2.0, rel=0.13)
    assert sum(sum(one["calls"].values()) for one in plain["over_time"]) == 4
    assert (plain["stale"]["probes"], plain["stale"]["probed"], plain["stale"]["found"]) == (1, 50, 1)
    assert plain["memory"] is None
    assert plain["warnings"] == ["The cache Redis does not answer."]

    text = promptyard("cache", "stats", "--since", "2h").stdout
    assert "2 of 4 answers without a provider (50.0%), $0.0200 spent, $0.0200 saved." in " ".join(text.split())
    assert "Stale: 1 incidents in 1 probes of 50 answers." in text
    assert all(len(line) <= 80 for line in text.splitlines()), text


def test_stats_without_calls(promptyard: Promptyard, ledger: Engine) -> None:
    result = promptyard("cache", "stats", "--prompt", "nothing")
    assert result.exit_code == 0
    assert "No answers of nothing of default within 24 hours." in result.stdout


def test_advise(promptyard: Promptyard, ledger: Engine) -> None:
    add_version(ledger, ManualClock(), "1.0.0")
    promote(ledger, ManualClock(), "1.0.0")
    add_calls(ledger, [f"q{number % 60}" for number in range(100)])
    result = promptyard("cache", "advise", "--json", "--redis-usd", "0")
    assert result.exit_code == 0, result.output
    (plain,) = json.loads(result.stdout)
    assert (plain["prompt"], plain["kind"]) == (PROMPT, "multi-layer")
    facts = plain["facts"]
    assert (facts["calls"], facts["questions"], facts["diversity"], facts["hit_rate"]) == (100, 60, 0.6, 0.4)
    assert facts["ttl"] == DAY
    assert facts["cost_per_call"] == pytest.approx(0.01)
    assert plain["break_even"]["saves_usd"] == pytest.approx(0.4 * 0.01 * facts["calls_a_day"])
    text = promptyard("cache", "advise", "--prompt", PROMPT, "--redis-usd", "0").stdout
    assert text.startswith(f"{PROMPT}: multi-layer, because 40% of the calls repeat another to the letter")
    assert "60% of them new" in text


def test_advise_says_what_to_do_instead(promptyard: Promptyard, ledger: Engine) -> None:
    add_calls(ledger, [f"q{number}" for number in range(100)])
    text = promptyard("cache", "advise").stdout
    assert "no cache, because 100% of the calls ask something that nobody asked before" in text
    assert "instead: A shorter prompt: 1500 tokens go in for 100 that come out" in text


def test_advice_about_a_prompt_that_nobody_calls(promptyard: Promptyard, ledger: Engine) -> None:
    assert isinstance(promptyard("cache", "advise", "--prompt", "nothing").exception, NotFound)
    assert promptyard("cache", "advise").stdout == "No live calls of a prompt in this time.\n"


@pytest.mark.parametrize(("text", "expected"), [("90m", 5400.0), ("24h", DAY), ("7d", 7 * DAY)])
def test_window(text: str, expected: float) -> None:
    assert window(text) == expected


@pytest.mark.parametrize("text", ["", "a week", "30s", "-1h", "9000d"])
def test_no_window(text: str) -> None:
    with pytest.raises(InvalidRequest):
        window(text)
