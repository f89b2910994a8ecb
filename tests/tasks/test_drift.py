"""Windows of live calls as columns, Evidently's view of them, and news that is said once a day."""

import random

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.settings import Settings
from gateway.storage.models import ScoreRow
from tasks.drift import Watched, Window, announce, columns_of, compare, watched_prompts, window
from tasks.statistics.drift import DriftVerdict, Outcome
from tests.tasks.rows import NOW, add, call_row, prompt_rows

HELP = Watched("acme", "help", "1.0.0", "prompt.yaml")


def test_outputs_are_those_of_the_version_and_latency_of_answers_that_were_made() -> None:
    calls = [
        call_row("1", question="How long?", answer="Ten days [doc:a] or [doc:b].", documents=["doc:c/a@1"]),
        call_row("2", layer="exact"),
        call_row("3", version="0.9.0"),
        call_row("4", status="failed", answer=None, cost_usd=None),
    ]
    table = columns_of(calls, {"1": 0.5, "2": 0.75, "3": 1.0}, "1.0.0")
    assert table["question_words"] == [2.0, 1.0, 1.0, 1.0]
    assert table["citations"] == [2.0, 0.0, None, None]
    assert table["documents"] == [1.0, 0.0, None, None]
    assert table["latency_ms"] == [20.0, None, None, None]
    assert table["cost_usd"] == [0.01, None, None, None]
    assert table["quality"] == [0.5, 0.75, None, None]
    assert {len(values) for values in table.values()} == {4}


def test_window_holds_live_calls_of_the_prompt_once_a_user(settings: Settings, ledger: Engine) -> None:
    add(
        ledger,
        call_row("1", user="ann", question="first", started_at=NOW),
        call_row("2", user="ann", question="second", started_at=NOW + 1),
        call_row("3", user="bob", question="third", started_at=NOW + 2),
        call_row("4", user="eve", question=None, started_at=NOW + 2),  # its content was not kept
        call_row("5", origin="gate"),
        call_row("6", prompt="other"),
        call_row("7", tenant="somebody-else"),
        call_row("8", started_at=NOW + 10),
        ScoreRow(call_id="3", metric="quality", source="judge", tenant="acme", value=0.25, scored_at=NOW),
        ScoreRow(call_id="2", metric="quality", source="judge", tenant="somebody-else", value=1.0, scored_at=NOW),
    )
    found = window.fn(settings, HELP, NOW, NOW + 10)
    assert found.questions == ("second", "third")
    assert (found.calls, found.rows) == (4, 2)
    assert found.columns["quality"] == [None, 0.25]


def test_prompts_in_production_are_watched(settings: Settings, ledger: Engine) -> None:
    add(ledger, *prompt_rows(source="help.yaml"), *prompt_rows("other"))
    add(ledger, *prompt_rows("new", production="")[:1])
    assert [one.prompt for one in watched_prompts.fn(settings, "", "")] == ["help", "other"]
    assert watched_prompts.fn(settings, "acme", "help") == [Watched("acme", "help", "1.0.0", "help.yaml")]
    assert watched_prompts.fn(settings, "nobody", "") == []


def test_drift_is_news_once_a_version_and_day(settings: Settings, ledger: Engine, clock: ManualClock) -> None:
    verdict = DriftVerdict(Outcome.DRIFT, ("quality",), ("quality has shifted",))
    newer = Watched("acme", "help", "1.1.0", "prompt.yaml")
    said = [
        announce.fn(settings, clock, one, verdict, day)
        for one, day in [(HELP, "1"), (HELP, "1"), (HELP, "2"), (newer, "1")]
    ]
    assert said == [True, False, True, True]


@pytest.mark.integration
def test_evidently_finds_the_column_that_moved_and_writes_a_page() -> None:
    draw = random.Random(1)

    def sample(rows: int, shift: float) -> Window:
        columns: dict[str, list[float | None]] = {
            "question_words": [draw.gauss(10 + shift, 2) for _ in range(rows)],
            "latency_ms": [draw.gauss(100, 10) for _ in range(rows)],
            "quality": [None] * rows,
        }
        return Window(0.0, 1.0, rows, columns, ("?",) * rows)

    compared = compare.fn(sample(120, 2.0), sample(200, 0.0), alpha=0.01, min_rows=50)
    assert set(compared.p_values) == {"question_words", "latency_ms"}
    assert compared.p_values["question_words"] < 1e-6
    assert compared.p_values["latency_ms"] > 0.001
    assert compared.html.lstrip().startswith("<")


def test_no_comparable_column_needs_no_report() -> None:
    empty = Window(0.0, 1.0, 0, {"quality": []}, ())
    compared = compare.fn(empty, empty, alpha=0.01, min_rows=1)
    assert (dict(compared.p_values), compared.html) == ({}, "")
