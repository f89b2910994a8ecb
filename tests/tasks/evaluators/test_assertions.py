"""Checks of an answer's text, by table."""

from typing import Any

import pytest

from tasks.evaluators.assertions import Assertions, Facts, admits_not_knowing, check, check_all, cited, share_passed
from tasks.evaluators.base import Answered
from tasks.specs.model import Assertion

ANSWER = "Refunds take [doc:returns] 30 Days, see also [doc:shipping-times] and [doc:returns]."


def assertion(kind: str, value: Any = "") -> Assertion:
    return Assertion.model_validate({"type": kind, "value": value})


@pytest.mark.parametrize(
    ("kind", "value", "answer", "passed", "reason"),
    [
        ("contains", "30 days", ANSWER, True, ""),
        ("contains", "31 days", ANSWER, False, "does not contain '31 days'"),
        ("contains", "(30)", "about (30)", True, ""),
        ("not_contains", "14 DAYS", ANSWER, True, ""),
        ("not_contains", "30 DAYS", ANSWER, False, "contains '30 DAYS'"),
        ("regex", r"\b30\s+Days\b", ANSWER, True, ""),
        ("regex", r"\b30\s+days\b", ANSWER, False, r"does not match '\\b30\\s+days\\b'"),
        ("max_words", 3, " one  two\nthree ", True, ""),
        ("max_words", 2, "one two three", False, "has 3 words, 2 are allowed"),
        ("max_words", 0, "", True, ""),
        ("cites", "", ANSWER, True, ""),
        ("cites", "", "Thirty days (returns).", False, "cites no document"),
        ("cites", "shipping-times", ANSWER, True, ""),
        ("cites", "shipping", ANSWER, False, "does not cite shipping"),
        ("refuses", True, "I don't know.", True, ""),
        ("refuses", True, "Thirty days.", False, "does not admit that it does not know"),
        ("refuses", False, "Thirty days.", True, ""),
        ("refuses", False, "I don't know.", False, "says that it does not know"),
    ],
)
def test_one_assertion(kind: str, value: Any, answer: str, passed: bool, reason: str) -> None:
    held = check(assertion(kind, value), answer)
    assert (held.passed, held.reason) == (passed, reason)


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know.",
        "I don’t know: the articles I have do not answer this.",
        "I'm sorry, but I do not know the answer to that.",
        "I really can't say; please write to our support team.",
        "I cannot find this in the help articles.",
        "I couldn't find any information about that.",
        "I am not able to answer that from the articles.",
        "I'm unable to confirm whether that works.",
        "I'm not sure about the exact date.",
        "I do not have any information about that.",
        "I have no information on gift cards.",
        "I don't see anything about gift cards in the articles.",
        "Unfortunately, the help articles don't mention gift cards.",
        "Our documentation does not say how long this takes.",
        "The information I have does not cover this.",
        "That isn't covered in the help articles.",
        "This is not mentioned anywhere in our documentation.",
        "There is no information about gift cards.",
        "The articles contain no details on this.",
        "None of the articles I can see cover that.",
        "No article describes gift cards.",
        "Nothing about gift cards is in the help centre.",
        "There is not enough information to answer this.",
        "This is beyond the scope of the help articles.",
        "Gift cards are not something the articles cover.",
        "The documents are silent on gift cards.",
        "We don't have that information.",
        "The answer cannot be found in the articles.",
        "It takes 30 days [doc:returns]. As for the other question, I don't know.",
    ],
)
def test_this_admits_not_knowing(answer: str) -> None:
    assert admits_not_knowing(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The Starter plan does not include phone support.",
        "The warranty does not cover water damage.",
        "Water damage is not covered by the warranty.",
        "You do not need to mention your order number.",
        "No, you don't have to say why you cancel.",
        "The hub is not listed until it has been paired.",
        "No documents are needed for a return.",
        "If you are unable to find the button, press the hub's reset for five seconds.",
        "If you can't find the sensor, bring it closer to the hub.",
        "You can see nothing but your own sites.",
        "Please let us know if the light does not turn green.",
        "A sensor that has no battery left is shown in grey.",
        "For orders outside the EU, see the article on customs.",
        "You will not find a cheaper plan; Starter is the smallest.",
        "I know that one: thirty days [doc:returns].",
        "Invited people cannot answer alerts for you.",
        "There is no charge for returns.",
    ],
)
def test_this_only_looks_like_it(answer: str) -> None:
    assert not admits_not_knowing(answer)


def test_citations_are_in_order_and_each_once() -> None:
    assert cited(ANSWER) == ("returns", "shipping-times")
    assert cited("[doc:] [doc:a b] [document:x] doc:y") == ()


def test_the_share_that_holds() -> None:
    checks = check_all([assertion("contains", "a"), assertion("contains", "z"), assertion("max_words", 9)], "a b")
    assert [one.passed for one in checks] == [True, False, True]
    assert share_passed(checks) == pytest.approx(2 / 3)
    assert share_passed(()) is None


SCHEMA = {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}, "required": ["price"]}


@pytest.mark.parametrize(
    ("kind", "value", "answer", "reason"),
    [
        ("json_schema", SCHEMA, '{"price": 9}', ""),
        (
            "json_schema",
            SCHEMA,
            '{"price": -1}',
            "does not fit the schema at $.price: -1 is less than the minimum of 0",
        ),
        ("json_schema", SCHEMA, "{}", "does not fit the schema at $: 'price' is a required property"),
        ("json_schema", SCHEMA, 'Sure: {"price": 9}', "is not JSON"),
        ("json_schema", {"$ref": "http://127.0.0.1:1/x"}, "{}", "the schema cannot be followed"),
        ("min_words", 2, "one", "has 1 words, 2 are the least"),
        ("min_words", 2, "one two", ""),
        ("max_chars", 3, "four", "has 4 characters, 3 are allowed"),
        ("max_chars", 4, "four", ""),
        ("max_cost_usd", 0.01, "", "its cost is $0.02, $0.01 is allowed"),
        ("max_cost_usd", 0.02, "", ""),
        ("max_latency_ms", 99, "", "its latency is 100 ms, 99 ms is allowed"),
        ("max_latency_ms", 100, "", ""),
    ],
)
def test_form_length_and_ceilings(kind: str, value: Any, answer: str, reason: str) -> None:
    held = check(assertion(kind, value), answer, Facts(cost_usd=0.02, latency_ms=100.0))
    assert held.passed is not bool(reason)
    assert held.reason.startswith(reason)


@pytest.mark.parametrize("kind", ["max_cost_usd", "max_latency_ms"])
def test_what_was_not_measured_neither_holds_nor_fails(kind: str) -> None:
    held = check(assertion(kind, 1), "x")
    assert held.passed is None
    assert share_passed([held]) is None
    assert share_passed([held, check(assertion("contains", "x"), "x")]) == 1.0
    (score,) = Assertions([assertion(kind, 1)]).score([Answered("Why?", "x")])
    assert (score.value, score.failed) == (None, True)
    assert "is not known" in score.reason


def test_the_share_of_common_and_own_assertions_is_a_score() -> None:
    answers = [Answered("Why?", "nine", assertions=(assertion("contains", "ten"),)), Answered("Why?", "nine")]
    half, whole = Assertions([assertion("contains", "nine")]).score(answers)
    assert (half.value, half.reason) == (0.5, "does not contain 'ten'")
    assert whole.value == 1.0
    assert Assertions([]).score(answers[1:])[0] == type(whole)(None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json_schema", "text"),
        ("json_schema", {"type": "nothing"}),
        ("min_words", -1),
        ("max_words", True),
        ("max_chars", 1.5),
        ("max_cost_usd", "cheap"),
        ("max_latency_ms", -5),
        ("contains", {"a": 1}),
    ],
)
def test_an_assertion_that_cannot_be_held_is_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=kind if kind != "json_schema" else "schema"):
        assertion(kind, value)
