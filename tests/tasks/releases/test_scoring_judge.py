"""Which judge scores live answers: the version's own, but one for both arms of a release; its version is kept."""

import pytest

from gateway.storage.models import CallRow
from tasks.evaluators.judge import Judgement
from tasks.releases import store
from tasks.scoring import judge_of, score_rows
from tasks.specs.model import GateSpec, PromptSpec
from tests.tasks.releases.yard import POLICY, Yard
from tests.tasks.specs.spec_files import changed

OWN = PromptSpec.model_validate(changed({"gate": {"judge": {"model": "openai/old"}}}))
GATE = GateSpec.model_validate({"judge": {"model": "openai/new", "criteria": ["tone"]}}).model_dump(mode="json")


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_both_arms_of_a_release_are_scored_by_the_candidates_judge(small_yard: Yard, version: str) -> None:
    small_yard.promote("1.0.0")
    small_yard.register("1.1.0")
    policy = {"canary": dict(POLICY), "gate": GATE, "background": {"batching": "packed", "pack": 4}}
    store.open_release(
        small_yard.engine, small_yard.clock, tenant="acme", prompt="help", version="1.1.0", policy=policy
    )
    judge, background = judge_of(small_yard.engine, "acme", "help", version, OWN)
    assert (judge.model, judge.criteria, background.pack_size) == ("openai/new", ("tone",), 4)
    assert judge_of(small_yard.engine, "other", "help", version, OWN)[0].model == "openai/old"


def test_without_a_release_it_is_the_versions_own(small_yard: Yard) -> None:
    small_yard.promote("1.0.0")
    assert judge_of(small_yard.engine, "acme", "help", "1.0.0", OWN)[0].model == "openai/old"


def test_the_judges_version_is_part_of_its_score_and_of_no_other() -> None:
    spec = PromptSpec.model_validate(changed({"gate": {"assertions": [{"type": "max_words", "value": 5}]}}))
    call = CallRow(id="c", tenant="acme", answer="Nine euros.", latency_ms=5.0, cost_usd=None)
    rows = score_rows(call, Judgement(0.75, {}, "fine"), spec, 1.0, "abc123")
    assert [(row["source"], row["value"], row["judge"]) for row in rows] == [
        ("judge", 0.75, "abc123"),
        ("assertion", 1.0, ""),
    ]
