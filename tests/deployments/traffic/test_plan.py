from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.traffic.plan import Question, TrafficPlan, read_contexts, read_pool, turns
from gateway.errors import InvalidRequest

POOL = tuple(Question(f"q{number}", f"Question {number}?") for number in range(50))


def plan(**changes: Any) -> TrafficPlan:
    values: dict[str, Any] = {"base_url": "http://x", "key": "py_secret", "prompt": "help", "pool": POOL}
    return TrafficPlan(**(values | changes))


def test_a_seed_plays_the_same_again_and_another_one_does_not() -> None:
    first, again = list(turns(plan(requests=200, seed=7))), list(turns(plan(requests=200, seed=7)))
    assert first == again
    assert first != list(turns(plan(requests=200, seed=8)))


@given(requests=st.integers(1, 300), users=st.integers(1, 60), seed=st.integers(0, 5))
def test_every_request_has_one_of_the_users(requests: int, users: int, seed: int) -> None:
    played = list(turns(plan(requests=requests, users=users, seed=seed)))
    assert [turn.number for turn in played] == list(range(requests))
    asked = Counter(turn.user for turn in played)
    assert set(asked) <= {f"user-{number}" for number in range(users)}
    assert len(asked) == min(users, -(-requests // 2))
    assert max(asked.values()) - min(asked.values()) <= 2


def test_popular_questions_come_back_and_without_popularity_all_are_alike() -> None:
    popular = Counter(turn.question.id for turn in turns(plan(requests=5_000, zipf=1.0)))
    alike = Counter(turn.question.id for turn in turns(plan(requests=5_000, zipf=0.0)))
    assert popular.most_common(1)[0][1] > 800  # 1 / H(50) = 22 % of 5,000
    assert alike.most_common(1)[0][1] < 200


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 240, 360), (1.0, 1000, 1000)])
def test_feedback_is_given_on_a_share(share: float, least: int, most: int) -> None:
    given_on = sum(turn.feedback for turn in turns(plan(requests=1_000, feedback_share=share)))
    assert least <= given_on <= most


@pytest.mark.parametrize(
    "changes",
    [{"requests": 0}, {"users": 0}, {"workers": 0}, {"rate": -1.0}, {"duration": float("nan")}, {"feedback_share": 2}],
)
def test_what_cannot_be_played_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        plan(**changes)


@pytest.mark.parametrize("url", ["http://x:1", "http://x:1/", "http://x:1/v1", "http://x:1/v1/"])
def test_the_address_is_taken_with_and_without_v1(url: str) -> None:
    assert plan(base_url=url).api_url == "http://x:1/v1"


def test_a_plan_shows_no_key() -> None:
    assert "py_secret" not in repr(plan())


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"text": "no question"}'])
def test_a_broken_line_of_the_pool_is_named_by_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(f'{{"question": "Fine?"}}\n\n{line}\n')
    with pytest.raises(InvalidRequest, match="line 3"):
        read_pool(path)


def test_a_pool_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_pool(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InvalidRequest, match="no questions"):
        read_pool(tmp_path / "empty.jsonl")


def test_the_pool_that_comes_along_has_every_kind() -> None:
    kinds = Counter(question.kind for question in read_pool())
    assert sum(kinds.values()) >= 1_000
    assert set(kinds) == {"plain", "paraphrase", "chatty", "typo", "multi_part", "unanswerable"}


def test_a_user_says_the_same_of_himself_each_time_and_users_differ() -> None:
    contexts = read_contexts(["plan=free, pro", "language=de,en,fr"])
    assert contexts == {"plan": ("free", "pro"), "language": ("de", "en", "fr")}
    said: dict[str, set[tuple[str, str]]] = {}
    for turn in turns(plan(requests=600, users=60, contexts=contexts)):
        said.setdefault(turn.user, set()).add((turn.context["plan"], turn.context["language"]))
    assert all(len(one) == 1 for one in said.values())
    assert len(set().union(*said.values())) == 6
    assert {len(turn.context) for turn in turns(plan(requests=5))} == {0}


@pytest.mark.parametrize("given", [["plan"], ["=free"], ["plan="], ["plan=,"], ["plan=free", "plan=pro"]])
def test_a_context_that_says_nothing_is_refused(given: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="no new key"):
        read_contexts(given)
