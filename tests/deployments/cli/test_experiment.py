"""``promptyard experiment`` as a person types it, on a ledger with nothing else running."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.clock import ManualClock
from gateway.prompts.splits import segment_of
from gateway.storage.engine import writing
from tasks.experiments.store import set_weights
from tasks.releases import store
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard, add_version, promote


@pytest.fixture
def three_versions(ledger: Engine, clock: ManualClock) -> Engine:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        add_version(ledger, clock, version)
    promote(ledger, clock, "1.0.0")
    return ledger


def started(promptyard: Promptyard, *arguments: str) -> dict[str, Any]:
    result = promptyard("experiment", "start", PROMPT, "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refusal(promptyard: Promptyard, *arguments: str) -> str:
    error = promptyard("experiment", *arguments).exception
    assert error is not None
    return f"{error.message} / {error.hint}"  # type: ignore[attr-defined]


def test_an_ab_test_from_start_to_stop(promptyard: Promptyard, three_versions: Engine) -> None:
    made = started(promptyard, "--policy", "ab", "--arm", "1.1.0=30", "--arm", "1.0.0=70", "--fall-back")
    assert made["arms"] == [{"version": "1.0.0", "share": 0.7}, {"version": "1.1.0", "share": 0.3}]
    listed = json.loads(promptyard("experiment", "status", "--json").stdout)
    assert [(one["id"], one["stage"]) for one in listed] == [(made["id"], "open")]
    shown = json.loads(promptyard("experiment", "status", made["id"][:12], "--json").stdout)
    assert (shown["options"]["fall_back"], shown["outcomes"]) == (True, 0)
    assert shown["arms"][1]["beside_baseline"]["claim"] == "not yet"
    read = promptyard("experiment", "status", made["id"])
    assert "1.1.0" in read.stdout
    assert "no complete block of users yet" in read.stdout
    assert made["id"] in promptyard("experiment", "status").stdout  # whole, to be copied from 80 columns
    stopped = promptyard("experiment", "stop", made["id"], "--by", "Ada", "--reason", "enough")
    assert "1.0.0 serves every user" in stopped.stdout
    (ended,) = json.loads(promptyard("experiment", "status", "--json").stdout)
    assert (ended["stage"], ended["reason"]) == ("stopped", "stopped by Ada: enough")
    assert "There is nothing to stop" in refusal(promptyard, "stop", made["id"])


def test_a_contextual_bandit_and_its_table(promptyard: Promptyard, three_versions: Engine) -> None:
    arms = ("--arm", "1.0.0", "--arm", "1.1.0", "--arm", "1.2.0")
    context = ("--context", "plan", "--context", "language", "--discount", "0.99", "--floor", "10")
    text = promptyard("experiment", "start", PROMPT, "--policy", "contextual", *arms, *context).stdout
    assert "1.0.0 33.34 %, 1.1.0 33.33 %, 1.2.0 33.33 %" in text
    (made,) = json.loads(promptyard("experiment", "status", "--json").stdout)
    shown = json.loads(promptyard("experiment", "status", made["id"], "--json").stdout)
    options = shown["options"]
    assert (options["context_keys"], options["discount"], options["floor"]) == (["plan", "language"], 0.99, 0.1)
    assert PROMPT in promptyard("experiment", "status").stdout


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("--policy", "best", "--arm", "1.0.0", "--arm", "1.1.0"), "there is no policy 'best'"),
    (("--policy", "ab", "--arm", "1.1.0", "--arm", "1.2.0"), "Add it: --arm 1.0.0"),
    (("--policy", "ab", "--arm", "1.0.0"), "2 to 10 arms"),
    (("--policy", "ab", "--arm", "1.0.0", "--arm", "1.0.0"), "different versions"),
    (("--policy", "ab", "--arm", "1.0.0", "--arm", "7.0.0"), "has no version 7.0.0"),
    (("--policy", "ab", "--arm", "1.0.0=70", "--arm", "1.1.0"), "some have none"),
    (("--policy", "ab", "--arm", "1.0.0=x", "--arm", "1.1.0=1"), "a share is a number"),
    (("--policy", "ab", "--arm", "1.0.0=0", "--arm", "1.1.0=1"), "more than 0"),
    (("--policy", "ab", "--arm", "1.0.0=0.0001", "--arm", "1.1.0=99.9999"), "less than 0.01 % of the users"),
    (("--policy", "ab", "--arm", "1.0.0=1", "--arm", "1.1.0=1e-300"), "less than 0.01 % of the users"),
    (("--policy", "ab", "--arm", "1.0.0", "--arm", "1.1.0", "--window", "inf"), "window"),
    (("--policy", "ab", "--arm", "1.0.0", "--arm", "1.1.0", "--metric", ""), "metric"),
    (("--policy", "ab", "--arm", "1.0.0", "--arm", "1.1.0", "--metric", "m" * 65), "metric"),
    (("--policy", "bandit", "--arm", "1.0.0=70", "--arm", "1.1.0=30"), "sets the shares itself"),
    (("--policy", "bandit", "--arm", "1.0.0", "--arm", "1.1.0", "--fall-back"), "falling back belongs to A/B tests"),
    (("--policy", "bandit", "--arm", "1.0.0", "--arm", "1.1.0", "--floor", "50"), "leave nothing to learn with"),
    (("--policy", "contextual", "--arm", "1.0.0", "--arm", "1.1.0"), "needs keys of the callers' context"),
]


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_what_cannot_be_started_is_refused_in_words(
    promptyard: Promptyard, three_versions: Engine, arguments: tuple[str, ...], words: str
) -> None:
    assert words in refusal(promptyard, "start", PROMPT, *arguments)
    assert json.loads(promptyard("experiment", "status", "--json").stdout) == []


def test_arms_that_no_gate_has_passed_are_named(
    promptyard: Promptyard, three_versions: Engine, clock: ManualClock
) -> None:
    add_version(three_versions, clock, "1.3.0", verdict="")
    made = started(promptyard, "--policy", "bandit", "--arm", "1.0.0", "--arm", "1.1.0", "--arm", "1.3.0")
    assert made["without_passed_gate"] == ["1.3.0"]
    promptyard("experiment", "stop", made["id"])
    told = promptyard("experiment", "start", PROMPT, "--policy", "ab", "--arm", "1.0.0", "--arm", "1.3.0").stdout
    assert "No gate has passed 1.3.0" in told
    assert "To tell a difference of 0.05 takes about" in told


def test_a_second_experiment_and_a_release_wait_for_the_first(promptyard: Promptyard, three_versions: Engine) -> None:
    started(promptyard, "--policy", "bandit", "--arm", "1.0.0", "--arm", "1.1.0")
    again = refusal(promptyard, "start", PROMPT, "--policy", "ab", "--arm", "1.0.0", "--arm", "1.2.0")
    assert "is open" in again


def test_only_what_is_shown_better_is_promoted_or_what_somebody_answers_for(
    promptyard: Promptyard, three_versions: Engine
) -> None:
    made = started(promptyard, "--policy", "bandit", "--arm", "1.0.0", "--arm", "1.1.0")
    assert "--force --by NAME" in refusal(promptyard, "promote", made["id"], "1.1.0")
    assert "answers for it" in refusal(promptyard, "promote", made["id"], "1.1.0", "--force")
    assert store.get_prompt(three_versions, TENANT, PROMPT).production == "1.0.0"
    done = promptyard("experiment", "promote", made["id"], "1.1.0", "--force", "--by", "Ada")
    assert "1.1.0 is in production" in done.stdout
    assert store.get_prompt(three_versions, TENANT, PROMPT).production == "1.1.0"


@pytest.mark.parametrize("plan", ["[/bold]", "[red]", "$\\frac$", "\u200f\u4f60\u597d"])
def test_whatever_callers_say_of_themselves_can_be_shown(
    promptyard: Promptyard, three_versions: Engine, clock: ManualClock, plan: str
) -> None:
    arms = ("--arm", "1.0.0", "--arm", "1.1.0")
    made = started(promptyard, "--policy", "contextual", *arms, "--context", "plan")
    segment = segment_of(["plan"], {"plan": plan})
    with writing(three_versions) as session:
        set_weights(session, made["id"], [5_000, 5_000], {segment: [500, 9_500]}, (), 0, clock)
    shown = promptyard("experiment", "status", made["id"], COLUMNS="200")
    assert shown.exit_code == 0, shown.exception
    if plan.isascii():
        assert segment in shown.stdout
