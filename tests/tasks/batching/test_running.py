"""Calls through a batch API are calls like any other: cached, recorded, priced, and answered whatever gets lost."""

import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest

from gateway.types import Layer, ModelRef, Origin, PromptVersion, Variable
from tasks.llm import LlmCall, client
from tests.gateway_process import environment
from tests.gateway_stack import until
from tests.tasks.batching.conftest import BatchYard

pytestmark = pytest.mark.integration


def say(word: str, *, model: str = "openai/gpt-4.1-mini", repeat: int = 0, temperature: float = 0) -> LlmCall:
    return LlmCall(
        tenant="acme",
        origin=Origin.GATE,
        model=model,
        messages=({"role": "user", "content": f"Say '{word}'"},),
        params={"temperature": temperature},
        repeat=repeat,
    )


WORDS = [f"word {n}" for n in range(20)]


@pytest.mark.parametrize("model", ["openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"])
def test_one_batch_answers_all_in_order_at_half_the_price(yard: BatchYard, model: str) -> None:
    results = yard.complete([say(word, model=model) for word in WORDS])
    assert [result.text for result in results] == WORDS
    assert yard.counts() == {"batches": 1, "batches.item": 20}
    rows = yard.calls()
    assert {(row.origin, row.layer, row.status, row.model) for row in rows} == {
        ("gate", "none", "ok", model.partition("/")[2])
    }
    batched = sum(row.cost_usd or Decimal(0) for row in rows)
    assert [row.state for row in yard.batches()] == ["collected"]

    singly = [say(word, model=model, repeat=1) for word in WORDS]
    client(yard.settings).complete(singly)
    single = sum((row.cost_usd or Decimal(0) for row in yard.calls()), Decimal(0)) - batched
    assert batched == pytest.approx(single / 2)


def test_the_second_time_is_free(yard: BatchYard) -> None:
    yard.complete([say(word) for word in WORDS])
    again = yard.complete([say(word) for word in [*WORDS, "new", "newer"]])
    layers = [result.answer.layer for result in again if result.answer]
    assert layers == [Layer.EXACT] * 20 + [Layer.NONE] * 2
    assert yard.counts() == {"batches": 2, "batches.item": 22}


def test_everything_from_the_cache_makes_no_batch_and_one_call_neither(yard: BatchYard) -> None:
    assert [result.text for result in yard.complete([say("alone")])] == ["alone"]
    assert [result.text for result in yard.complete([say("alone")])] == ["alone"]
    assert yard.complete([]) == []
    assert yard.counts() == {"chat.completions": 1}


@pytest.mark.parametrize(
    "fault", [{"missing": 0.5}, {"failed": 0.5}, {"expired": 0.5}, {"missing": 1.0}, {"shuffled": True, "missing": 0.2}]
)
def test_what_does_not_come_back_is_asked_singly(yard: BatchYard, fault: dict[str, Any]) -> None:
    yard.fault(**fault)
    assert [result.text for result in yard.complete([say(word) for word in WORDS])] == WORDS
    rows = yard.calls()
    assert len(rows) == len(WORDS), "one row a call, however it was answered"
    singly = yard.counts().get("chat.completions", 0)
    assert singly > 0
    prices = {row.price["input_per_mtok"] for row in rows}
    assert prices == ({"0.4"} if singly == 20 else {"0.4", "0.2"})


def test_a_provider_that_refuses_batches_is_asked_singly(yard: BatchYard) -> None:
    with yard.simulator.faults({"scope": {"model": "gpt-4.1-mini"}, "error_rate": 1.0, "error_status": 403}):
        results = yard.complete([say(word) for word in WORDS[:3]])
    assert {result.error for result in results} == {"all_providers_failed"}
    assert yard.counts()["batches"] == 1
    assert yard.counts()["chat.completions"] >= 3
    assert {row.status for row in yard.calls()} == {"failed"}


def test_identical_calls_are_one_and_repeats_are_real(yard: BatchYard) -> None:
    calls = [say("same"), say("same"), say("same", repeat=1), say("other"), say("same", temperature=1.0)]
    results = yard.complete([*calls, say("same", temperature=1.0)])
    assert [result.text for result in results] == ["same", "same", "same", "other", "same", "same"]
    assert yard.counts()["batches.item"] == 5


def test_a_managed_version_is_rendered_and_one_that_lacks_a_variable_fails_alone(yard: BatchYard) -> None:
    version = PromptVersion(
        tenant="acme",
        name="echo",
        version="1.0.0",
        digest="d",
        template=({"role": "user", "content": "Say '{{word}}'"},),
        variables=(Variable("word"),),
        chain=(ModelRef("openai", "gpt-4.1-mini"),),
        params={"temperature": 0},
    )
    words: list[dict[str, str]] = [{"word": "a"}, {}, {"word": "b"}]
    calls = [LlmCall(tenant="acme", origin=Origin.WARM, version=version, variables=given) for given in words]
    results = yard.complete(calls)
    assert [result.text for result in results] == ["a", "", "b"]
    assert (results[1].answer, results[1].error) == (None, "missing_variable")


_DOOMED = """
import sys
from gateway.settings import Settings
from tasks.llm import client
from tests.tasks.batching.test_running import WORDS, say
from tasks.specs.model import BackgroundSpec
client(Settings()).complete([say(word) for word in WORDS], background=BackgroundSpec(batching="batch_api"))
"""


def test_killed_between_submitting_and_collecting_nothing_is_lost_or_asked_twice(yard: BatchYard) -> None:
    yard.fault(processing_ms=3_000)
    process = subprocess.Popen([sys.executable, "-c", _DOOMED], env=os.environ | environment(yard.settings, 1))
    try:
        until("the batch is submitted", lambda: [row for row in yard.batches() if row.provider_batch], within=60)
    finally:
        process.kill()
        process.wait(10)
    assert [row.state for row in yard.batches()] == ["submitted"]
    assert [result.text for result in yard.complete([say(word) for word in WORDS])] == WORDS
    assert [row.state for row in yard.batches()] == ["collected"]
    assert yard.counts() == {"batches": 1, "batches.item": 20}
    assert [row.status for row in yard.calls()] == ["ok"] * 20
