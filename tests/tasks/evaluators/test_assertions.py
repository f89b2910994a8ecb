"""Checks of an answer's text, by table."""

from typing import Any

import pytest

from tasks.evaluators.assertions import admits_not_knowing, check, check_all, cited, share_passed
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
