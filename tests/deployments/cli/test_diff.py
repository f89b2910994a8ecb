"""``diff`` as a person types it: the text from the ledger alone, and what to do where that is not enough."""

import json

from sqlalchemy import Engine

from gateway.clock import ManualClock
from tests.deployments.cli.conftest import PROMPT, Promptyard, add_version


def test_the_text_needs_neither_mlflow_nor_the_prompts_name(
    promptyard: Promptyard, ledger: Engine, clock: ManualClock
) -> None:
    for version in ("1.0.0", "1.1.0"):
        add_version(ledger, clock, version)
    found = json.loads(promptyard("diff", "1.0.0", "1.1.0", "--json").stdout)
    assert found["prompt"] == PROMPT
    assert found["changed"] == []
    assert "1.1.0 was not gated" in found["unread"]
    assert "not gated" in promptyard("diff", "1.0.0", "1.1.0").stdout


def test_a_version_that_is_not_there_and_an_unclear_prompt_are_named(
    promptyard: Promptyard, ledger: Engine, clock: ManualClock
) -> None:
    add_version(ledger, clock, "1.0.0")
    missing = promptyard("diff", "1.0.0", "9.9.9")
    assert missing.exit_code != 0
    assert "9.9.9" in str(missing.exception)
    nobody = promptyard("diff", "1.0.0", "1.1.0", "--tenant", "nobody")
    assert "has no prompts" in str(nobody.exception)


def test_a_prompt_that_is_not_there_is_named(promptyard: Promptyard, ledger: Engine) -> None:
    refused = promptyard("diff", "1.0.0", "1.1.0", "--prompt", "nope")
    assert "there is no prompt named 'nope'" in str(refused.exception)


def test_labels_that_are_broken_are_named_before_anything_is_asked(promptyard: Promptyard, ledger: Engine) -> None:
    refused = promptyard("judge", "calibrate", "/nowhere/labels.jsonl")
    assert "cannot be read" in str(refused.exception)
