"""``promptyard cache semantic`` on a small ledger: figures, states, examples, and the words for people."""

import json
import random
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cache.semantic.scope import SemanticScope, recipe_of
from gateway.clock import ManualClock
from gateway.errors import InvalidRequest, NotFound
from gateway.storage.engine import writing
from gateway.storage.models import SemanticPairRow
from gateway.types import CachePolicy, ModelRef, PromptVersion, SemanticPolicy
from tasks.semantic_decision import State
from tasks.semantic_judging import look
from tests.deployments.cli.conftest import PROMPT, TENANT, Promptyard, add_version

RECIPE = recipe_of("lexical-1/1024", "question")
"""How pairs are compared."""


def pair(number: int, **changes: Any) -> SemanticPairRow:
    values: dict[str, Any] = {
        "id": f"call_{number}",
        "tenant": TENANT,
        "prompt": PROMPT,
        "version": "1.0.0",
        "recipe": RECIPE,
        "asked": f"How long do refunds take, {number}?",
        "kept": "When is my refund there?",
        "similarity": 0.95,
        "probability": 0.2,
        "at": float(number),
    }
    return SemanticPairRow(**(values | changes))


def judged(number: int, correct: bool, **changes: Any) -> SemanticPairRow:
    return pair(number, correct=correct, judged_at=number + 0.5, source="judge", **changes)


def add(engine: Engine, *rows: SemanticPairRow) -> None:
    with writing(engine) as session:
        session.add_all(rows)


@pytest.fixture
def prompt(ledger: Engine) -> Engine:
    add_version(ledger, ManualClock(), "1.0.0")
    return ledger


def test_an_unknown_prompt_is_not_found(promptyard: Promptyard, ledger: Engine) -> None:
    assert isinstance(promptyard("cache", "semantic", "nobody").exception, NotFound)


def test_before_anything_was_met_it_says_what_brings_it(promptyard: Promptyard, prompt: Engine) -> None:
    told = promptyard("cache", "semantic", PROMPT)
    assert told.exit_code == 0
    assert "No similar questions" in told.stdout


def test_without_the_content_of_calls_it_says_that_nothing_can_be_earned(
    promptyard: Promptyard, prompt: Engine
) -> None:
    told = promptyard("cache", "semantic", PROMPT, PROMPTYARD_LEDGER_CONTENT="off")
    assert "PROMPTYARD_LEDGER_CONTENT=off" in " ".join(told.stdout.split())


def test_on_and_off_at_once_are_refused(promptyard: Promptyard, prompt: Engine) -> None:
    assert isinstance(promptyard("cache", "semantic", PROMPT, "--on", "--off").exception, InvalidRequest)


def test_what_was_never_judged_cannot_be_switched(promptyard: Promptyard, prompt: Engine) -> None:
    assert isinstance(promptyard("cache", "semantic", PROMPT, "--off").exception, NotFound)


def test_the_curve_the_threshold_the_vetoes_and_the_near_misses(promptyard: Promptyard, prompt: Engine) -> None:
    draw = random.Random(2)
    rows = []
    for number in range(400):
        similarity = 0.7 + 0.3 * draw.random()
        rows.append(judged(number, similarity > 0.85, similarity=similarity, reason="another thing"))
    add(prompt, *rows)
    add(
        prompt,
        pair(900, veto="numbers", asked="Is it 30 days?", kept="Is it 60 days?", similarity=0.99),
        judged(901, True, veto="negation"),
        judged(902, False, veto="negation"),
    )
    scope = SemanticScope(TENANT, PROMPT, "1.0.0", RECIPE)
    version = _version_with(SemanticPolicy())
    assert look(prompt, scope, version, 1_000.0).standing.state is State.PROVING

    (found,) = json.loads(promptyard("cache", "semantic", PROMPT, "--json").stdout)
    assert (found["state"], found["judged"], found["waiting"], found["lexical"]) == ("proving", 400, 1, True)
    assert 0.8 < found["threshold"] < 0.9
    assert found["still_needed"] > 50
    precisions = [point["precision"] for point in found["curve"]]
    assert precisions[0] == 1.0
    assert precisions[-1] < 0.6
    assert all(point["precision_low"] <= point["precision"] <= point["precision_high"] for point in found["curve"])
    rates = [point["hit_rate"] for point in found["curve"]]
    assert rates == sorted(rates)
    assert {one["guard"]: (one["pairs"], one["judged"], one["right"]) for one in found["vetoes"]} == {
        "negation": (2, 2, 1),
        "numbers": (1, 0, 0),
    }
    assert found["rejected"][0]["kept"] == "Is it 60 days?"
    assert found["wrong_examples"][0]["why"] == "another thing"

    told = promptyard("cache", "semantic", PROMPT, COLUMNS="140").stdout
    for words in ("lexical", "chosen", "Rejected near-misses", "Is it 60 days?", "more judged hits", "numbers"):
        assert words in told


def _version_with(policy: SemanticPolicy) -> PromptVersion:
    return PromptVersion(
        tenant=TENANT,
        name=PROMPT,
        version="1.0.0",
        digest="d",
        template=({"role": "user", "content": "{{question}}"},),
        chain=(ModelRef("openai", "m"),),
        cache=CachePolicy(semantic=policy),
    )
