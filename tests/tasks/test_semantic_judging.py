"""From pairs to the right to serve and back, on SQL and on the real online path; the judge is an echo.

The echo gives back what it was asked: a rating that stands in an answer is the judge's rating.
"""

from typing import Any

import msgspec
import pytest
from msgspec import structs
from sqlalchemy import Engine, select

from gateway.cache.semantic.scope import SemanticScope, recipe_of
from gateway.cache.semantic.verdicts import verdict_key
from gateway.clock import ManualClock
from gateway.errors import NotFound
from gateway.settings import Settings
from gateway.storage.engine import reading, writing
from gateway.storage.models import PromptVersionRow, SemanticPairRow
from gateway.types import CachePolicy, Layer, PromptVersion, SemanticMode, SemanticPolicy
from tasks.semantic_decision import State
from tasks.semantic_judging import (
    TEXT_FOR,
    UNJUDGED_FOR,
    forget_old,
    hold,
    judge_scope,
    judged_pairs,
    look,
    same_answer,
    scopes_to_judge,
    standing_of,
)
from tests.tasks.conftest import Station
from tests.tasks.rows import NOW, add

RECIPE = recipe_of("lexical-1/1024", "question")
SCOPE = SemanticScope("acme", "help", "1.0.0", RECIPE)
SPEC = {
    "name": "help",
    "version": "1.0.0",
    "template": [{"role": "user", "content": "{{question}}"}],
    "variables": {"question": {}},
    "model": {"chain": ["openai/gpt-4.1-mini"]},
    "gate": {"judge": {"model": "openai/gpt-4.1", "criteria": ["accuracy", "helpfulness"]}},
}
KEPT, ASKED = "How long do refunds take?", "Please, how long do refunds take?"
GOOD, BAD = '{"accuracy": 5, "helpfulness": 4}', '{"accuracy": 5, "helpfulness": 2}'


def pair_row(identity: str, **changes: Any) -> SemanticPairRow:
    values: dict[str, Any] = {
        "id": identity,
        "tenant": "acme",
        "prompt": "help",
        "version": "1.0.0",
        "recipe": RECIPE,
        "asked": ASKED,
        "kept": KEPT,
        "similarity": 0.95,
        "fresh_answer": "30 days.",
        "kept_answer": "30 days.",
        "at": NOW,
    }
    return SemanticPairRow(**(values | changes))


def proof(count: int, *, begin: float, correct: bool = True, prefix: str = "p") -> list[SemanticPairRow]:
    """Judged pairs, one a second."""
    return [
        pair_row(f"{prefix}{n}", at=begin + n, judged_at=begin + n + 0.5, correct=correct, source="same")
        for n in range(count)
    ]


@pytest.fixture
def serving(station: Station) -> PromptVersion:
    """The station's version, with the layer on, and a spec that names a judge."""
    station.run(station.gateway.state_redis.delete(verdict_key(SCOPE)))  # other tests leave one behind
    policy = CachePolicy(semantic=SemanticPolicy(mode=SemanticMode.ON, judged_share=1.0, sampled_share=0.0))
    version = structs.replace(station.version, cache=policy)
    with writing(station.engine) as session:
        row = session.get(PromptVersionRow, ("acme", "help", "1.0.0"))
        assert row is not None
        row.bundle, row.spec = msgspec.to_builtins(version), SPEC
    return version


def pairs_of(engine: Engine) -> dict[str, SemanticPairRow]:
    with reading(engine) as session:
        return {row.id: row for row in session.scalars(select(SemanticPairRow))}


def judge(station: Station, **bounds: Any) -> Any:
    return judge_scope.fn(
        station.settings, station.gateway.clock, SCOPE, **({"limit": 100, "budget_usd": 1.0} | bounds)
    )


def test_equal_answers_are_right_without_a_judge(station: Station, serving: PromptVersion) -> None:
    add(station.engine, pair_row("a", kept_answer=" 30  DAYS."))
    found = judge(station)
    assert (found.judged, found.cost_usd, station.provider.calls) == (1, 0.0, 0)
    row = pairs_of(station.engine)["a"]
    assert (row.correct, row.source) == (True, "same")


def test_the_judge_decides_where_answers_differ(station: Station, serving: PromptVersion) -> None:
    add(station.engine, pair_row("a", kept_answer=f"Yes {GOOD}"), pair_row("b", kept_answer=f"Yes {BAD}"))
    found = judge(station)
    assert found.judged == 2
    assert found.cost_usd > 0
    rows = pairs_of(station.engine)
    assert [(rows[name].correct, rows[name].source) for name in "ab"] == [(True, "judge"), (False, "judge")]


def test_who_cannot_be_judged_waits_and_is_given_up_after_three_tries(station: Station, serving: PromptVersion) -> None:
    add(station.engine, pair_row("a", kept_answer="no rating in it"))
    assert [judge(station).left for _ in range(4)] == [1, 1, 0, 0]
    row = pairs_of(station.engine)["a"]
    assert (row.correct, row.judged_at, row.tries) == (None, None, 3)


def test_limit_and_budget_bound_a_run(station: Station, serving: PromptVersion) -> None:
    add(station.engine, *[pair_row(f"p{n:02}", kept_answer=f"{n} {GOOD}", at=NOW + n) for n in range(40)])
    assert judge(station, limit=5).judged == 5
    assert judge(station, budget_usd=1e-9).judged == 16
    assert judge(station, budget_usd=0.0).judged == 0
    assert [row.judged_at is not None for _, row in sorted(pairs_of(station.engine).items())] == [True] * 21 + [
        False
    ] * 19


def test_what_guards_rejected_is_judged_last_and_proves_nothing(station: Station, serving: PromptVersion) -> None:
    add(station.engine, pair_row("a", veto="numbers", at=NOW - 5), pair_row("b"))
    judge(station, limit=1)
    assert pairs_of(station.engine)["b"].correct is True
    assert pairs_of(station.engine)["a"].correct is None
    judge(station)
    assert len(judged_pairs(station.engine, SCOPE)) == 1


def test_only_scopes_of_active_versions_are_judged(settings: Settings, ledger: Engine, station: Station) -> None:
    add(ledger, pair_row("a"), pair_row("b", version="0.9.0"), pair_row("c", recipe="another"))
    assert scopes_to_judge.fn(settings) == [
        structs.replace(SCOPE, recipe="another"),
        SCOPE,
    ]


def earn(station: Station, version: PromptVersion) -> None:
    """Two looks: the first fixes a threshold, the second finds it proved."""
    clock = ManualClock(NOW)
    add(station.engine, *proof(150, begin=NOW - 1_000, prefix="fit"))
    assert look(station.engine, SCOPE, version, clock.now()).standing.state is State.PROVING
    add(station.engine, *proof(400, begin=NOW + 1, prefix="proof"))
    assert judge(station).standing.state is State.SERVING


def settle(station: Station) -> None:
    """Wait for what goes on after the answers."""

    async def settled() -> None:
        await station.gateway.pipeline.settle()
        await station.gateway.semantic.settle()

    station.run(settled())


def ask_again(station: Station, version: PromptVersion) -> Any:
    settle(station)
    return station.ask(ASKED, version)


def test_a_scope_that_has_earned_it_serves_and_stops_when_it_has_lost_it(
    station: Station, serving: PromptVersion
) -> None:
    station.put("refunds", "Refunds take 30 days.")
    assert station.ask(KEPT, serving).layer is Layer.NONE
    unproven = ask_again(station, serving)
    assert unproven.layer is Layer.NONE
    settle(station)
    station.run(station.gateway.cache_redis.flushdb())
    assert station.ask(KEPT, serving).layer is Layer.NONE

    earn(station, serving)
    _let_it_be_believed(station)
    served = ask_again(station, serving)
    assert served.layer is Layer.SEMANTIC
    assert KEPT in served.reply.text

    add(station.engine, *proof(80, begin=NOW + 900, correct=False, prefix="wrong"))
    assert judge(station).standing.state is not State.SERVING
    _let_it_be_believed(station)
    assert ask_again(station, serving).layer is Layer.NONE


def test_an_emptied_state_redis_takes_the_right_back_until_the_next_look(
    station: Station, serving: PromptVersion
) -> None:
    earn(station, serving)
    key = verdict_key(SCOPE)
    assert station.run(station.gateway.state_redis.exists(key)) == 1
    station.run(station.gateway.state_redis.flushall())
    assert station.run(station.gateway.state_redis.exists(key)) == 0
    judge(station)
    assert station.run(station.gateway.state_redis.exists(key)) == 1


def test_serving_can_be_switched_off_by_hand(station: Station, serving: PromptVersion) -> None:
    with pytest.raises(NotFound):
        hold(station.engine, SCOPE, True)
    earn(station, serving)
    hold(station.engine, SCOPE, True)
    judge(station)
    told = msgspec.json.decode(station.run(station.gateway.state_redis.get(verdict_key(SCOPE))))
    assert (told["serving"], told["state"]) == (False, "held")
    assert standing_of(station.engine, SCOPE)[1] is True
    hold(station.engine, SCOPE, False)
    judge(station)
    assert msgspec.json.decode(station.run(station.gateway.state_redis.get(verdict_key(SCOPE))))["serving"] is True


def test_a_live_pair_travels_by_the_ledger_and_is_judged(station: Station, serving: PromptVersion) -> None:
    station.put("refunds", f"Refunds take 30 days. {GOOD}")
    station.ask(KEPT, serving)
    ask_again(station, serving)
    settle(station)
    station.ship()
    (row,) = pairs_of(station.engine).values()
    assert (row.asked, row.kept, row.recipe, row.served) == (ASKED, KEPT, RECIPE, False)
    assert KEPT in row.kept_answer
    assert ASKED in row.fresh_answer
    assert scopes_to_judge.fn(station.settings) == [SCOPE]
    assert judge(station).judged == 1
    assert [one.correct for one in judged_pairs(station.engine, SCOPE)] == [True]


def test_old_words_are_forgotten_and_old_questions_dropped(settings: Settings, ledger: Engine) -> None:
    clock = ManualClock(NOW)
    add(
        ledger,
        pair_row("never judged", at=NOW - UNJUDGED_FOR - 1),
        pair_row("waiting", at=NOW - 1),
        pair_row("old", at=NOW - TEXT_FOR - 1, judged_at=NOW - 5, correct=False, reason="wrong"),
        pair_row("young", at=NOW - 10, judged_at=NOW - 5, correct=True),
    )
    assert forget_old.fn(settings, clock) == 2
    rows = pairs_of(ledger)
    assert set(rows) == {"waiting", "old", "young"}
    assert (rows["old"].asked, rows["old"].kept_answer, rows["old"].correct) == ("", "", False)
    assert rows["young"].asked == ASKED
    assert forget_old.fn(settings, clock) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("30 days.", " 30  Days. ", True), ("30 days.", "60 days.", False), ("", "", True)],
)
def test_answers_are_the_same_spaces_and_capitals_aside(one: str, other: str, same: bool) -> None:
    assert same_answer(one, other) is same


def _let_it_be_believed(station: Station) -> None:
    """The workers' clock is real here: what they believed is forgotten instead of waited for."""
    station.gateway.semantic.verdicts.forget()
