"""How far a version must rise for a change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.specs.bump import Bump, bump_between, bump_problem, changes, least_bump, next_free, raised
from tasks.specs.bundle import digest
from tasks.specs.model import PromptSpec
from tests.tasks.specs.spec_files import changed

PLAIN: dict[str, Any] = {"variables.product": {"required": False, "default": "all", "max_chars": 100}}
ASKED = "{{question}} about {{product}}"
TABLE: list[tuple[dict[str, Any], Bump, str]] = [
    ({}, Bump.PATCH, ""),
    ({"description": "other"}, Bump.PATCH, ""),
    ({"variables.question.description": "other"}, Bump.PATCH, ""),
    ({"gate.margin": 0.2}, Bump.PATCH, ""),
    ({"canary": {"steps": [50]}}, Bump.PATCH, ""),
    ({"approval": "required"}, Bump.PATCH, ""),
    ({"cache": {"ttl": "1h"}}, Bump.PATCH, ""),
    ({"model.timeout": 10}, Bump.PATCH, "time-out"),
    ({"model.chain": ["openai/gpt-4.1-mini", "openai/other"]}, Bump.PATCH, "fall-back"),
    ({"template.0.content": "Answer from:  \n{{context}}\n"}, Bump.PATCH, "white space"),
    ({"template.0.content": "Answer well, from:\n{{context}}"}, Bump.MINOR, "template"),
    ({"template.0.role": "developer"}, Bump.MINOR, "template"),
    ({"model.chain": ["openai/other", "openai/gpt-4.1-mini"]}, Bump.MINOR, "openai/other answers"),
    ({"model.temperature": 0.5}, Bump.MINOR, "temperature"),
    ({"model.max_tokens": 50}, Bump.MINOR, "max_tokens"),
    ({"model.params.seed": 7}, Bump.MINOR, "params.seed"),
    ({"retrieval.top_k": 5}, Bump.MINOR, "retrieval"),
    ({"tools": ["calculate"]}, Bump.MINOR, "tools"),
    ({"variables.question.max_chars": 300}, Bump.MINOR, "takes 300"),
    ({"variables.question.required": False}, Bump.MINOR, "optional now"),
    ({**PLAIN, "template.1.content": ASKED}, Bump.MINOR, "template"),
    ({"variables.product": {}, "template.1.content": ASKED}, Bump.MAJOR, "callers must give"),
    ({"variables.question.max_chars": 100}, Bump.MAJOR, "only 100"),
    ({"model.params.response_format": {"type": "json_object"}}, Bump.MAJOR, "response_format"),
    ({"personal": True}, Bump.MAJOR, "personal now"),
]


def spec(version: str = "1.0.0", **changes_: Any) -> PromptSpec:
    return PromptSpec.model_validate(changed({"version": version, **changes_}))


@pytest.mark.parametrize(("change", "least", "words"), TABLE, ids=lambda value: str(value)[:50])
def test_how_far_a_change_raises_the_number(change: dict[str, Any], least: Bump, words: str) -> None:
    found = changes(spec(), spec(**change))
    assert least_bump(found) is least
    assert words in "; ".join(one.what for one in found)


def test_a_renamed_variable_is_one_gone_and_one_to_give() -> None:
    renamed = {"variables": {"asked": {}}, "template.1.content": "{{asked}}", "retrieval.query": "{{asked}}"}
    found = [one.what for one in changes(spec(), spec(**renamed)) if one.bump is Bump.MAJOR]
    assert found == ["the variable 'question' is gone", "callers must give a new variable, 'asked'"]


@pytest.mark.parametrize("change", [change for change, least, _ in TABLE if least >= Bump.MINOR], ids=str)
def test_what_is_more_than_a_patch_decides_answers(change: dict[str, Any]) -> None:
    assert digest(spec()) != digest(spec(**change))


@pytest.mark.parametrize(
    ("version", "change", "problem"),
    [
        ("1.0.1", {"gate.margin": 0.2}, ""),
        ("1.1.0", {"gate.margin": 0.2}, ""),
        ("2.0.0", {"gate.margin": 0.2}, ""),
        ("1.1.0", {"retrieval.top_k": 5}, ""),
        ("1.0.1", {"retrieval.top_k": 5}, "this is a minor change of 1.0.0 (retrieval changes), and 1.0.1 only raises"),
        ("1.0.1", {"retrieval.top_k": 5}, "the right version is 1.1.0"),
        ("1.1.0", {"personal": True}, "the right version is 2.0.0"),
        ("2.0.0", {"personal": True}, ""),
        ("1.0.0", {"gate.margin": 0.2}, "does not rise above it: the right version is 1.0.1"),
        ("0.9.0", {"retrieval.top_k": 5}, "the right version is 1.1.0"),
        ("1.1.0", {"retrieval.top_k": 5, "changelog": ""}, "needs a 'changelog'"),
        ("1.0.1", {"gate.margin": 0.2, "changelog": " "}, ""),
    ],
)
def test_a_wrong_bump_is_refused_with_the_right_one(version: str, change: dict[str, Any], problem: str) -> None:
    found = bump_problem(spec(), spec(version, **change))
    assert problem in found
    assert bool(problem) == bool(found)


def test_the_right_one_is_free() -> None:
    taken = frozenset({"1.0.0", "1.1.0", "1.2.0"})
    assert "the right version is 1.3.0" in bump_problem(spec(), spec("1.0.1", **{"retrieval.top_k": 5}), taken)


part = st.integers(0, 30)


@given(st.tuples(part, part, part), st.sampled_from([Bump.PATCH, Bump.MINOR, Bump.MAJOR]))
def test_a_raised_version_has_risen_by_just_that(parts: tuple[int, int, int], bump: Bump) -> None:
    version = ".".join(map(str, parts))
    assert bump_between(version, raised(version, bump)) is bump
    assert bump_between(raised(version, bump), version) is Bump.NONE
    assert bump_between(version, next_free(version, bump, frozenset({raised(version, bump)}))) is bump
