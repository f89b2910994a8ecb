"""Arithmetic that never runs what was written, the time, and documents of the call's own tenant and collection."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.tools.arithmetic import ArithmeticProblem, calculate
from gateway.tools.built_in import current_time, search_documents
from gateway.tools.context import Reading, ToolContext, ToolRefusal
from gateway.types import Passage
from tests.gateway.tools.fakes import FakeLibrary


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12*7", 84),
        ("0.1 + 0.2", 0.3),
        ("1/3", 0.333333333333333),
        ("-(2 + 3) * 4", -20),
        ("2 ^ 10", 1024),
        ("2 ** -2", 0.25),
        ("3 × 4 ÷ 6 − 1", 1),
        ("7 // 2 + 7 % 3", 4),
        ("sqrt(16) + sqrt(0.25)", 4.5),
        ("2 ** 0.5", 1.4142135623731),
        ("round(2.567, 2)", 2.57),
        ("max(1, min(5, 3)) + abs(-2) + floor(1.5) + ceil(1.5)", 8),
        ("1e3 + 1.5e-1", 1000.15),
        ("2**1000", 2**1000),
        ("2*pi", 6.28318530717959),
    ],
)
def test_sums(written: str, value: float) -> None:
    assert calculate(written) == value


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "complete"),
        ("1 +", "complete"),
        ("1 2", "complete"),
        ("(" * 100 + "1" + ")" * 100, "at most 200"),
        ("1/0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9**9**9", "too large"),
        ("(2**1000)**1000", "too large"),
        ("2**4000 * 2**4000", "too large"),
        ("1e400", "too large"),
        ("2**5000.5", "too large"),
        ("(-8) ** (1/3)", "root of a negative"),
        ("sqrt(-1)", "root of a negative"),
        ("sqrt(1, 2)", "another number of values"),
        ("round(1, 0.5)", "whole number of places"),
        ("round(1, 10**9)", "whole number of places"),
        ("-" * 100 + "1", "nested too deeply"),
        ("1" + "+1" * 99, "nested too deeply"),
        ("1,000", "can be calculated"),
        ("0x10", "can be calculated"),
        ("__import__('os')", "can be calculated"),
        ("open(1)", "can be calculated"),
        ("abs.__class__", "can be calculated"),
        ("(1).real", "can be calculated"),
        ("True", "can be calculated"),
        ("[1][0]", "can be calculated"),
        ("1 if 2 else 3", "can be calculated"),
        ("lambda: 1", "can be calculated"),
        ("1 < 2", "can be calculated"),
        ("max(*range(9))", "can be calculated"),
        ("x", "can be calculated"),
        ("1 @ 2", "can be calculated"),
        ("1 << 9999", "can be calculated"),
    ],
)
def test_what_is_no_sum_is_refused(written: str, words: str) -> None:
    with pytest.raises(ArithmeticProblem, match=words):
        calculate(written)


@given(st.text(st.sampled_from("0123456789.+-*/%^() eE,sqrtabpi_[]'\n\0"), max_size=60) | st.text(max_size=60))
def test_whatever_is_written_is_a_number_or_refused(written: str) -> None:
    with suppress(ArithmeticProblem):
        assert isinstance(calculate(written), int | float)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_it_agrees_with_integers(one: int, other: int) -> None:
    assert calculate(f"({one}) * ({other}) + ({one}) - ({other})") == one * other + one - other


# --- the time


@pytest.mark.parametrize(
    ("zone", "time", "weekday"),
    [("UTC", "2023-11-14T22:13:20+00:00", "Tuesday"), ("Asia/Tokyo", "2023-11-15T07:13:20+09:00", "Wednesday")],
)
def test_the_time_somewhere(zone: str, time: str, weekday: str) -> None:
    context = ToolContext("acme", "call_1", ManualClock())
    assert current_time(context, zone) == {"time": time, "weekday": weekday, "timezone": zone}


@pytest.mark.parametrize("zone", ["", "Mars/Base", "Europe", "../../etc/passwd", "/etc/localtime", "a\0b"])
def test_the_time_nowhere(zone: str) -> None:
    with pytest.raises(ToolRefusal, match="no such time zone"):
        current_time(ToolContext("acme", "call_1", ManualClock()), zone)


# --- documents

OURS = Passage("returns", 3, "Returns", "Within 30 days.", 0.91237)
THEIRS = Passage("secret", 1, "Secret", "Their margin is 40 %.", 0.99)


def library() -> FakeLibrary:
    return FakeLibrary({("acme", "help"): (OURS,), ("rival", "help"): (THEIRS,), ("acme", "staff"): (THEIRS,)})


async def test_documents_are_those_of_the_calls_own_tenant_and_collection() -> None:
    books, reading = library(), Reading()
    context = ToolContext("acme", "call_1", ManualClock(), "help", "e1", books, reading)
    assert await search_documents(context, "How long?", 2) == [
        {"document": "returns", "version": 3, "title": "Returns", "text": "Within 30 days.", "score": 0.9124}
    ]
    assert books.asked == [("acme", "help", "e1", "How long?", 2)]
    assert (reading.searched, reading.documents) == (True, ["doc:help/returns@3"])


async def test_finding_nothing_is_reading_too() -> None:
    reading = Reading()
    context = ToolContext("nobody", "call_1", ManualClock(), "help", "e1", library(), reading)
    assert await search_documents(context, "How long?") == []
    assert (reading.searched, reading.documents) == (True, [])


async def test_a_call_without_a_collection_has_no_documents() -> None:
    books = library()
    with pytest.raises(ToolRefusal, match="no collection"):
        await search_documents(ToolContext("acme", "call_1", ManualClock(), library=books), "How long?")
    assert books.asked == []
