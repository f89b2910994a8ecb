"""What the gate is handed: pairs by item, whose fault an error is, and the rows that a person reads."""

from typing import Any

import pytest

from gateway.types import Answer, Call, Cost, Layer, Reply, Usage
from tasks.evaluated import SCORE, Evaluated, item_results, question_of, table
from tasks.evaluation import _evaluated
from tasks.evaluators.judge import Judgement
from tasks.llm import LlmResult
from tasks.specs.datasets import GoldenItem
from tasks.specs.model import Assertion


def item(identity: str = "g", **changes: Any) -> GoldenItem:
    return GoldenItem.model_validate({"id": identity, "variables": {"question": "Why?"}, "tags": ["t"], **changes})


def evaluated(identity: str = "g", **changes: Any) -> Evaluated:
    values: dict[str, Any] = {"item": item(identity), "version": "1.1.0", "repeat": 0, "score": 0.5}
    return Evaluated(**(values | changes))


def answered(text: str) -> LlmResult:
    reply = Reply(
        message={"role": "assistant", "content": text},
        finish_reason="stop",
        provider="openai",
        model="small",
        usage=Usage(),
    )
    call = Call(id="c", tenant="acme", received_at=0.0)
    return LlmResult(Answer(call=call, reply=reply, layer=Layer.NONE, cost=Cost(), latency_ms=5.0))


NINE = Assertion(type="contains", value="nine")
SHORT = Assertion(type="max_words", value=1)


@pytest.mark.parametrize(
    ("result", "judgement", "use_judge", "score", "passed", "error"),
    [
        (answered("nine"), Judgement(0.5, {}), True, 0.75, True, ""),
        (answered("nine euros"), Judgement(0.5, {}), True, 0.5, False, ""),
        (answered("ten euros"), Judgement(1.0, {}), True, 0.5, False, ""),
        (answered("nine"), None, False, 1.0, True, ""),
        (answered("nine"), Judgement(None, {}, "no JSON"), True, None, True, "not judged: no JSON"),
        (answered("nine"), None, True, None, True, "not judged: no verdict"),
        (LlmResult(None, "provider_rejected_request", "no"), None, True, 0.0, False, ""),
        (LlmResult(None, "missing_variable", "no"), None, True, 0.0, False, ""),
        (LlmResult(None, "all_providers_failed", "down"), None, True, None, False, "all_providers_failed: down"),
    ],
)
def test_the_score_of_an_answer(
    result: LlmResult, judgement: Judgement | None, use_judge: bool, score: float | None, passed: bool, error: str
) -> None:
    row = _evaluated("1.1.0", item(assertions=[NINE.model_dump()]), 0, result, judgement, [SHORT], use_judge)
    assert (row.score, row.passed, row.error) == (score, passed, error)


def test_without_assertions_the_judge_alone_speaks_and_with_neither_nobody_does() -> None:
    assert _evaluated("1", item(), 0, answered("x"), Judgement(0.25, {}), [], True).score == 0.25
    assert _evaluated("1", item(), 0, answered("x"), None, [], False).score is None


def test_items_are_paired_by_id_with_all_repeats() -> None:
    now = [evaluated("a", score=0.2), evaluated("a", repeat=1, score=0.4), evaluated("b", score=1.0)]
    before = [evaluated("b", score=0.9), evaluated("a", score=0.8)]
    a, b = item_results(now, before, [])
    assert (a.id, a.candidate, a.baseline, a.tags) == ("a", {SCORE: (0.2, 0.4)}, {SCORE: (0.8,)}, ("t",))
    assert (b.candidate, b.baseline, b.must_pass) == ({SCORE: (1.0,)}, {SCORE: (0.9,)}, None)


def test_an_error_on_either_side_takes_the_item_out() -> None:
    now = [evaluated("a", score=None, error="all_providers_failed: down"), evaluated("b")]
    before = [evaluated("a"), evaluated("b", score=None, error="not judged")]
    assert [one.error for one in item_results(now, before, [])] == ["all_providers_failed: down", "not judged"]


def test_a_first_version_has_nobody_to_be_paired_with() -> None:
    (only,) = item_results([evaluated()], None, [])
    assert only.baseline is None


def test_must_pass_items_keep_every_repeat() -> None:
    rows = [evaluated("m", passed=True), evaluated("m", repeat=1, passed=False)]
    (only,) = item_results([], None, rows)
    assert (only.id, only.must_pass, only.tags) == ("must-pass:m", (True, False), ("must-pass", "t"))


def test_the_table_begins_with_what_matters() -> None:
    now = [evaluated("same", score=0.5), evaluated("better", score=0.9), evaluated("worse", score=0.1)]
    before = [evaluated(name, score=0.5) for name in ("same", "better", "worse")]
    must = [evaluated("kept", passed=True), evaluated("broken", passed=False, failed_assertions=("no nine",))]
    rows = table(now, before, must)
    assert [row["id"] for row in rows] == ["broken", "worse", "kept", "same", "better"]
    assert (rows[0]["kind"], rows[0]["why"]) == ("must-pass", "no nine")
    assert (rows[1]["score"], rows[1]["score before"]) == (0.1, 0.5)
    assert len({tuple(row) for row in rows}) == 1, "every row has the same columns"


def test_what_the_judge_is_shown_as_the_question() -> None:
    assert question_of({"question": "Why?", "tone": "kind"}) == "Why?"
    assert question_of({"topic": "x", "tone": "kind"}) == "topic: x\ntone: kind"
