"""Which questions are warmed, within which budget, when, and that they are warm afterwards."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock, SystemClock
from gateway.ledger.frequencies import Asked, Frequencies, tally
from gateway.settings import Settings
from gateway.storage.engine import writing
from gateway.storage.models import PromptRow
from gateway.types import CachePlace, CachePolicy, Layer
from tasks.specs.model import BackgroundSpec
from tasks.warm_marks import CLAIM_SECONDS, Cause, can_be_warmed, due_warm_ups, forget_marks, mark_warm, why_warm
from tasks.warming import (
    A_FEW,
    Question,
    WarmBudget,
    first_of_each,
    how_many,
    questions_to_warm,
    warm,
)
from tests.tasks.conftest import Station
from tests.tasks.rows import add, call_row, prompt_rows

SINGLY, BATCHED = BackgroundSpec(), BackgroundSpec(batching="batch_api")


@pytest.mark.parametrize(
    ("answered", "spent", "background", "expected"),
    [
        (0, 0.0, SINGLY, A_FEW),
        (160, 0.1, SINGLY, A_FEW),
        (0, 0.0, BATCHED, A_FEW),
        (16, 0.0, BATCHED, A_FEW),  # all of it was warm, or without a known price
        (16, 0.16, BATCHED, 84),
        (16, 0.99, BATCHED, A_FEW),
    ],
)
def test_a_batch_is_as_large_as_the_budget_is_likely_to_pay_for(
    answered: int, spent: float, background: BackgroundSpec, expected: int
) -> None:
    assert how_many(answered, spent, 1.0, background) == expected


def question(text: str, count: float = 1) -> Question:
    return Question(text, {"question": text}, count)


def test_what_was_counted_comes_first_and_nothing_comes_twice() -> None:
    found = first_of_each([question("a", 9), question("b", 3)], [question("b", 50), question("c", 2)], 3)
    assert [(one.text, one.count) for one in found] == [("a", 9), ("b", 3), ("c", 2)]
    assert len(first_of_each([question("a")], [question("b")], 1)) == 1


@pytest.mark.parametrize(
    ("marks", "serves_since", "cause"),
    [
        ({}, 0.0, Cause.EMPTIED),
        ({"1.0.0": 100.0}, 50.0, None),
        ({"1.0.0": 100.0}, 100.0, None),
        ({"1.0.0": 100.0}, 150.0, Cause.CHANGED),  # a rollback to what was warm long ago
        ({"1.1.0": 200.0}, 150.0, Cause.CHANGED),
    ],
)
def test_why_a_version_is_warmed(marks: dict[str, float], serves_since: float, cause: Cause | None) -> None:
    assert why_warm("1.0.0", serves_since, marks) is cause


@pytest.mark.parametrize(
    "changes",
    [
        {"personal": True},
        {"cache": CachePolicy(exact=False)},
        {"cache": CachePolicy(warm_top=0)},
        {"cache": CachePolicy(place=CachePlace.PROCESS)},
    ],
)
def test_what_cannot_be_warmed(station: Station, changes: dict[str, Any]) -> None:
    version = msgspec.structs.replace(station.version, **changes)
    assert can_be_warmed(station.version)
    assert not can_be_warmed(version)
    station.ask("Why?")
    station.ship()
    assert questions_to_warm.fn(station.settings, SystemClock(), version, None) == []


def test_without_counts_the_ledger_tells(settings: Settings, ledger: Engine, station: Station) -> None:
    clock = ManualClock(1_700_000_000.0)
    rows = [call_row(str(n), variables={"question": text}, question=text) for n, text in enumerate("abbcbc")]
    add(ledger, *rows, call_row("warm", origin="warm", variables={"question": "w"}, question="w"))
    down = station.settings.model_copy(update={"state_redis_url": "redis://127.0.0.1:1/0", "redis_timeout": 0.2})
    found = questions_to_warm.fn(down, clock, station.version, 2)
    assert [(one.text, one.count) for one in found] == [("b", 3), ("c", 2)]


def test_counts_lead_and_the_ledger_fills_up(ledger: Engine, station: Station) -> None:
    clock = station.gateway.clock
    now = clock.now()
    add(
        ledger, *(call_row(str(n), started_at=now, variables={"question": q}, question=q) for n, q in enumerate("xxxy"))
    )
    asked = Asked("acme", now, prompt="help", version="1.0.0", variables={"question": "y"}, question="y")
    station.run(station.gateway.state_redis.flushall())
    station.run(Frequencies(station.gateway.state_redis, clock, timeout=5.0).add(tally([asked], now)))
    found = questions_to_warm.fn(station.settings, clock, station.version, 2)
    assert [one.text for one in found] == ["y", "x"]


def test_what_is_warmed_is_warm_and_warming_twice_costs_nothing(station: Station) -> None:
    station.put("a", "Returns are free.")
    questions = [question(f"Is return {number} free?") for number in range(3)]
    station.ask(questions[0].text)
    first = warm.fn(station.settings, station.version, questions, WarmBudget())
    assert (first.answered, first.already_warm, first.failed, first.done) == (2, 1, 0, True)
    assert first.cost_usd > 0
    assert all(
        (row["cold ms"] is None) == (row["warm ms"] is None) == (row["state"] == "was warm") for row in first.rows
    )
    assert station.ask(questions[2].text).layer is not Layer.NONE
    again = warm.fn(station.settings, station.version, questions, WarmBudget())
    assert (again.answered, again.already_warm, again.cost_usd, again.warm_ms) == (0, 3, 0.0, None)


@pytest.mark.parametrize(
    ("budget", "answered", "note"),
    [
        (WarmBudget(usd=1.0, calls=5), 5, "the budget of 5 calls is spent"),
        (WarmBudget(usd=1e-9, calls=500), A_FEW, "the budget of $1e-09 is spent"),
        (WarmBudget(), A_FEW + 4, ""),
    ],
)
def test_the_budget_ends_it(station: Station, budget: WarmBudget, answered: int, note: str) -> None:
    found = warm.fn(station.settings, station.version, [question(f"{n}?") for n in range(A_FEW + 4)], budget)
    assert (found.answered, found.note) == (answered, note)


def test_a_model_without_a_price_is_bounded_by_money_too(station: Station) -> None:
    unpriced = msgspec.structs.replace(
        station.version, chain=(msgspec.structs.replace(station.version.chain[0], model="homemade"),)
    )
    found = warm.fn(station.settings, unpriced, [question(f"{n}?") for n in range(A_FEW + 4)], WarmBudget(usd=1e-6))
    assert found.answered == A_FEW
    assert found.cost_usd > 0


def test_nobody_answering_is_not_warm(station: Station) -> None:
    settings = station.settings.model_copy(update={"openai_base_url": "http://127.0.0.1:1/v1"})
    found = warm.fn(settings, station.version, [question("Why?")], WarmBudget())
    assert (found.failed, found.done) == (1, False)
    assert replace(found, questions=0).done


def test_an_emptied_cache_is_noticed_once_and_a_change_of_what_serves_too(station: Station, ledger: Engine) -> None:
    settings, gateway = station.settings, station.gateway
    station.run(gateway.state_redis.flushall())

    def due() -> list[Cause]:
        return [one.cause for one in due_warm_ups.fn(settings)]

    def let_claims_run_out() -> None:
        async def remove() -> None:
            for key in await gateway.state_redis.keys("py:{warm*claim*"):
                assert 0 < await gateway.state_redis.ttl(key) <= CLAIM_SECONDS
                await gateway.state_redis.unlink(key)

        station.run(remove())

    assert due() == [Cause.EMPTIED]
    assert due() == [], "somebody is at it"
    assert mark_warm.fn(settings, gateway.clock, "acme", "help", "1.0.0")
    let_claims_run_out()
    assert due() == []

    station.run(gateway.cache_redis.flushall())  # as a restart without persistence
    assert due() == [Cause.EMPTIED]
    assert due() == []
    let_claims_run_out()
    assert due() == [Cause.EMPTIED], "whoever claimed it died"
    mark_warm.fn(settings, gateway.clock, "acme", "help", "1.0.0")

    forget_marks.fn(
        settings, "acme", "help"
    )  # as after an invalidation by hand: the claim of before does not hold it up
    assert due() == [Cause.EMPTIED]
    mark_warm.fn(settings, gateway.clock, "acme", "help", "1.0.0")

    with writing(ledger) as session:
        session.add(prompt_rows(production="2.0.0", bundle=msgspec.to_builtins(station.version))[1])
        row = session.get_one(PromptRow, ("acme", "help"))
        row.production, row.updated_at = "2.0.0", gateway.clock.now()
    assert due() == [Cause.CHANGED]
    mark_warm.fn(settings, gateway.clock, "acme", "help", "2.0.0")
    with writing(ledger) as session:
        row = session.get_one(PromptRow, ("acme", "help"))
        row.production, row.updated_at = "1.0.0", gateway.clock.now() + 1
    let_claims_run_out()
    assert due() == [Cause.CHANGED], "rolled back to what was warm before"


def test_without_redis_nothing_is_due(settings: Settings, ledger: Engine, station: Station) -> None:
    assert due_warm_ups.fn(settings) == []
    assert not mark_warm.fn(settings, SystemClock(), "acme", "help", "1.0.0")
