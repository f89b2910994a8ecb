"""A user's function: from the spec's folder only, and whatever it does, it is its item's error and no crash."""

import os
import time
from pathlib import Path

import pytest

from tasks.evaluators.base import Answered
from tasks.evaluators.user_function import MOST_DEATHS, UserFunction
from tasks.specs.function_files import FunctionError, find_function

CHECKS = """
import json, os, sys, time
import beside

def polite(item):
    print("not a verdict")
    return ("please" in item["answer"], beside.WHY)

def share(item):
    return float(item["variables"]["value"])

def odd(item):
    return {"text": "text", "none": None, "list": [1], "mapping": {"score": 0.25, "reason": "so"}}[item["answer"]]

def moody(item):
    if item["answer"] == "hang":
        time.sleep(60)
    if item["answer"] == "exit":
        os._exit(3)
    if item["answer"] == "leave":
        sys.exit("bye")
    if item["answer"] == "raise":
        raise KeyError("oh")
    if item["answer"] == "forge":
        os.write(1, b'{"value": 1.0}\\n')
        raise ValueError("forged")
    return 1

def secrets(item):
    return 0.0, " ".join(sorted(name for name in os.environ if "KEY" in name or name.startswith("PROMPTYARD")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "prompt"
    home.mkdir()
    (home / "checks.py").write_text(CHECKS)
    (home / "beside.py").write_text("WHY = 'says please'\n")
    (tmp_path / "outside.py").write_text("def polite(item):\n    return 1\n")
    (home / "link.py").symlink_to(tmp_path / "outside.py")
    (home / "broken.py").write_text("def polite(item:\n")
    (home / "slow.py").write_text("raise RuntimeError('no')\ndef polite(item):\n    return 1\n")
    return home


def said(*texts: str, value: str = "") -> list[Answered]:
    return [Answered(question="Why?", answer=text, variables={"value": value}) for text in texts]


def test_its_verdicts_are_scores_with_reasons(folder: Path) -> None:
    evaluator = UserFunction(folder, "checks.py:polite")
    scores = evaluator.score(said("please", "no"))
    assert [(one.value, one.reason, one.failed) for one in scores] == [
        (1.0, "says please", False),
        (0.0, "says please", False),
    ]
    assert evaluator.name == "polite"


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf"])
def test_a_number_out_of_range_is_no_score(folder: Path, value: str) -> None:
    (score,) = UserFunction(folder, "checks.py:share").score(said("x", value=value))
    assert (score.value, score.failed) == (None, True)
    assert "not in [0, 1]" in score.reason


def test_only_numbers_are_scores(folder: Path) -> None:
    text, none, listed, mapping = UserFunction(folder, "checks.py:odd").score(said("text", "none", "list", "mapping"))
    assert [one.reason for one in (text, none, listed)] == [
        f"odd: returned {kind}, not a number in [0, 1]" for kind in ("str", "NoneType", "list")
    ]
    assert (mapping.value, mapping.reason) == (0.25, "so")


def test_what_goes_wrong_is_the_items_error_alone(folder: Path) -> None:
    started = time.monotonic()
    evaluator = UserFunction(folder, "checks.py:moody", timeout=0.5)
    scores = evaluator.score(said("hang", "fine", "exit", "fine", "leave", "raise", "forge", "fine"))
    assert [one.value for one in scores] == [None, 1.0, None, 1.0, None, None, None, 1.0]
    assert [one.reason for one in scores if one.failed] == [
        "moody: the function took longer than 0.5 s",
        "moody: the function ended its process",
        "moody: SystemExit: bye",
        "moody: KeyError: 'oh'",
        "moody: ValueError: forged",
    ]
    assert time.monotonic() - started < 20


def test_one_that_always_dies_is_given_up(folder: Path) -> None:
    scores = UserFunction(folder, "checks.py:moody", timeout=5).score(said(*["exit"] * (MOST_DEATHS + 2)))
    assert all(one.failed for one in scores)
    assert "not tried" not in scores[MOST_DEATHS - 1].reason
    assert "not tried" in scores[MOST_DEATHS].reason


def test_a_file_that_cannot_be_loaded_says_why(folder: Path) -> None:
    (score,) = UserFunction(folder, "slow.py:polite").score(said("x"))
    assert score.failed
    assert "RuntimeError: no" in score.reason


def test_it_does_not_see_the_keys(folder: Path) -> None:
    os.environ["PROMPTYARD_TEST_ADMIN"] = os.environ["SOME_API_KEY"] = "x"
    try:
        (score,) = UserFunction(folder, "checks.py:secrets").score(said("x"))
    finally:
        del os.environ["PROMPTYARD_TEST_ADMIN"], os.environ["SOME_API_KEY"]
    assert (score.value, score.reason) == (0.0, "")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("checks.py", "is not 'file.py:function'"),
        ("os:system", "is not 'file.py:function'"),
        ("/etc/checks.py:polite", "is not 'file.py:function'"),
        ("a/../../outside.py:polite", "is not in the prompt's folder"),
        ("link.py:polite", "is not in the prompt's folder"),
        ("missing.py:polite", "there is no 'missing.py' beside the spec"),
        ("broken.py:polite", "'broken.py' cannot be read"),
        ("checks.py:impolite", "'checks.py' has no function 'impolite'"),
        ("checks.py:json", "'checks.py' has no function 'json'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(folder: Path, reference: str, words: str) -> None:
    with pytest.raises(FunctionError) as refused:
        find_function(folder, reference)
    assert words in str(refused.value)


def test_a_changed_file_is_another_version(folder: Path) -> None:
    before = UserFunction(folder, "checks.py:polite").version
    (folder / "checks.py").write_text(CHECKS + "\n")
    assert UserFunction(folder, "checks.py:polite").version != before
