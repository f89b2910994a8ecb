"""Live questions for a candidate: distinct, seeded, askable, and of live users only."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.ledger.records import NOT_CACHED
from gateway.settings import Settings
from gateway.types import ModelRef, PromptVersion, Variable
from tasks.specs.model import TrafficSpec
from tasks.traffic_sample import draw, sample_traffic
from tests.tasks.rows import NOW, add, call_row

ONE = (Variable("question", max_chars=40),)


def asked(*texts: str) -> list[dict[str, str]]:
    return [{"question": text} for text in texts]


def questions(rows: Any) -> list[str]:
    return [row.variables["question"] for row in rows]


def test_questions_are_distinct_whatever_their_spaces_and_capitals() -> None:
    found = draw(asked("Why?", "why?", " Why? ", "How?"), ONE, 10, 0)
    assert sorted(questions(found)) == ["How?", "Why?"]
    assert len({row.id for row in found}) == 2


def test_what_the_version_cannot_ask_is_left_out() -> None:
    rows = [*asked("Why?", "x" * 41), {}, None, {"question": "How?", "tone": "kind"}, {"question": 5}]
    assert questions(draw(rows, ONE, 10, 0)) == ["Why?"]
    optional = (*ONE, Variable("tone", required=False))
    assert sorted(questions(draw(rows, optional, 10, 0))) == ["How?", "Why?"]


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=40), st.integers(0, 5), st.randoms())
def test_the_same_seed_draws_the_same_whatever_the_order_and_how_often(
    texts: list[str], seed: int, random: Any
) -> None:
    shuffled = [*texts, *texts[:3]]
    random.shuffle(shuffled)
    first, second = (questions(draw(asked(*each), ONE, 5, seed)) for each in (texts, shuffled))
    assert first == second
    assert len(first) == min(5, len(set(texts)))


def test_another_seed_draws_others_and_one_more_question_displaces_at_most_one() -> None:
    texts = [f"question {number}" for number in range(200)]
    first = questions(draw(asked(*texts), ONE, 20, 0))
    assert set(first) != set(questions(draw(asked(*texts), ONE, 20, 1)))
    more = questions(draw(asked(*texts, "new"), ONE, 20, 0))
    assert len(set(first) - set(more)) <= 1


def test_only_live_calls_of_this_prompt_within_the_window(settings: Settings, ledger: Engine) -> None:
    def row(identity: str, question: str, **changes: Any) -> Any:
        return call_row(identity, variables={"question": question}, question=question, **changes)

    add(
        ledger,
        row("a", "live"),
        row("b", "failed too", status="failed", error="all_providers_failed", answer=None),
        row("c", "old", started_at=NOW - 90_000),
        row("d", "of the gate", origin="gate"),
        row("e", "another prompt", prompt="other"),
        row("f", "another tenant", tenant="other"),
        row("g", "an embedding", kind="embedding"),
        row("h", "kept away from caches", cache_reason=NOT_CACHED),
    )
    version = PromptVersion(
        tenant="acme",
        name="help",
        version="2.0.0",
        digest="d",
        template=(),
        variables=ONE,
        chain=(ModelRef("openai", "m"),),
    )
    found = sample_traffic.fn(settings, version, TrafficSpec(sample=10), NOW + 1)
    assert sorted(questions(found)) == ["failed too", "live"]
    assert all(row.reference == "" for row in found)
    assert sample_traffic.fn(settings, version, TrafficSpec(), NOW + 1) == []
    personal = msgspec.structs.replace(version, personal=True)  # the gate's own calls are kept nowhere either
    assert "kept away from caches" in questions(sample_traffic.fn(settings, personal, TrafficSpec(sample=10), NOW + 1))
