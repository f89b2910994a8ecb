"""The replayed day is the same for the same seed, repeats itself as it says, and knows what a right answer is."""

from collections import Counter

from tasks.evaluators.assertions import check_all
from tasks.specs.reading import read_spec
from tests.bench.day_plan import CONTENT, DayPlan, Need, askings, needs, read_traffic


def known() -> list[Need]:
    return needs(read_spec(CONTENT / "prompt.yaml", {}).golden, read_traffic())


def test_wordings_of_a_need_expect_the_same() -> None:
    found = known()
    golden = [one.wordings[0] for one in found]
    assert len(set(golden)) == len(golden) > 50
    assert sum(len(one.wordings) > 1 for one in found) > 40
    trial = next(one for one in found if one.wordings[0] == "How long is the free trial?")
    assert "How many days does the free trial run?" in trial.wordings
    assert all(check.passed for check in check_all(trial.checks, "It lasts 30 days."))
    assert not all(check.passed for check in check_all(trial.checks, "It lasts 30 hours."))


def test_the_same_seed_asks_the_same() -> None:
    plan = DayPlan(calls=200)
    assert askings(plan, known()) == askings(plan, known())
    other = askings(DayPlan(calls=200, seed=2), known())
    assert other != askings(plan, known())


def test_few_needs_make_most_of_the_day_and_letters_are_not_repeated() -> None:
    asked = askings(DayPlan(calls=4_000), known())
    popular = Counter(one.need.wordings[0] for one in asked).most_common(10)
    assert sum(number for _, number in popular) > 0.4 * len(asked)
    letters = [one.text for one in asked if one.text not in one.need.wordings]
    assert 0.2 < len(letters) / len(asked) < 0.3
    assert len(set(letters)) > 0.7 * len(letters)
    yesterday = Counter(one.need.wordings[0] for one in askings(DayPlan(calls=4_000, seed=9), known()))
    assert {name for name, _ in popular[:3]} <= {name for name, _ in yesterday.most_common(6)}, "the same business"


def test_without_letters_a_day_is_of_ready_wordings() -> None:
    asked = askings(DayPlan(calls=300, letters=0.0, other_words=0.0), known())
    assert all(one.text == one.need.wordings[0] for one in asked)
