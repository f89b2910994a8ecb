"""What a judge is asked, and which of its replies are verdicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluators.judge import judge_messages, judge_version, read_judgement

BOTH = ("accuracy", "helpfulness")
VERDICT = '{"accuracy": 5, "helpfulness": 3, "reason": "half of it"}'


@pytest.mark.parametrize(
    "text",
    [
        VERDICT,
        f"```json\n{VERDICT}\n```",
        f"Here is my verdict:\n{VERDICT}\nThat is all.",
        f"The answer mentions {{braces}}: {VERDICT} and {{more}}.",
        '{"reason": "half of it", "helpfulness": 3.0, "accuracy": 5, "extra": {"a": 1}}',
    ],
)
def test_a_verdict_is_found_in_the_text_around_it(text: str) -> None:
    judged = read_judgement(text, BOTH)
    assert (judged.score, judged.criteria, judged.reason) == (
        0.75,
        {"accuracy": 1.0, "helpfulness": 0.5},
        "half of it",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "did not reply with JSON"),
        ("The answer is fine: 5 out of 5.", "did not reply with JSON"),
        ("[5, 3]", "did not reply with JSON"),
        ('{"accuracy": 5, "helpfulness": ', "did not reply with JSON"),
        ("{'accuracy': 5, 'helpfulness': 3}", "did not reply with JSON"),
        ('{"a":' * 20_000, "did not reply with JSON"),
        ("{}", "from 1 to 5 for accuracy"),
        ('{"accuracy": 5}', "from 1 to 5 for helpfulness"),
        ('{"accuracy": 0, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": 5, "helpfulness": 5.01}', "from 1 to 5 for helpfulness"),
        ('{"accuracy": -1, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": NaN, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": Infinity, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": 1e999, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": true, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": "5", "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": null, "helpfulness": 5}', "from 1 to 5 for accuracy"),
        ('{"accuracy": [5], "helpfulness": 5}', "from 1 to 5 for accuracy"),
    ],
    ids=lambda value: value[:40],
)
def test_no_verdict_is_no_score_never_a_zero(text: str, words: str) -> None:
    judged = read_judgement(text, BOTH)
    assert judged.score is None
    assert judged.criteria == {}
    assert words in judged.reason


@pytest.mark.parametrize(("rating", "score"), [(1, 0.0), (2, 0.25), (3, 0.5), (4, 0.75), (5, 1.0), (4.5, 0.875)])
def test_one_to_five_becomes_zero_to_one(rating: float, score: float) -> None:
    assert read_judgement(f'{{"tone": {rating}}}', ("tone",)).score == score


def test_a_reason_that_is_no_text_is_left_out() -> None:
    assert read_judgement('{"tone": 4, "reason": [1]}', ("tone",)).reason == ""


@given(st.text(max_size=80))
def test_any_reply_is_read_without_an_error(text: str) -> None:
    score = read_judgement(text, BOTH).score
    assert score is None or 0 <= score <= 1


def test_the_reference_is_the_ground_where_there_is_one() -> None:
    shown = {"question": "Why {x}?", "answer": "Because {y}.", "criteria": BOTH, "documents": "[doc:a] A"}
    system, user = judge_messages(**shown, reference="So.")  # type: ignore[arg-type]
    assert "## Reference answer\nSo." in user["content"]
    assert "[doc:a]" not in user["content"]
    assert "contradicts the reference" in system["content"]
    assert '{"accuracy": <1-5>, "helpfulness": <1-5>, "reason"' in system["content"]
    assert "## Question\nWhy {x}?" in user["content"]
    assert user["content"].endswith("## Answer\nBecause {y}.")


def test_without_a_reference_the_documents_are_the_ground() -> None:
    system, user = judge_messages(question="Why?", answer="So.", criteria=("wit",), documents="[doc:a] A")
    assert "what they do not support is wrong" in system["content"]
    assert "- wit" in system["content"]
    assert "## Documents\n[doc:a] A" in user["content"]
    assert "## Documents\n(none)" in judge_messages(question="q", answer="a", criteria=("wit",))[1]["content"]


def test_the_judge_version_changes_with_model_and_criteria() -> None:
    versions = {
        judge_version("openai/a", BOTH),
        judge_version("openai/b", BOTH),
        judge_version("openai/a", ("accuracy",)),
        judge_version("openai/a", tuple(reversed(BOTH))),
    }
    assert len(versions) == 4
    assert judge_version("openai/a", BOTH) == judge_version("openai/a", list(BOTH))
