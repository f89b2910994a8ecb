"""Two specs have the same digest exactly when they answer alike; the bundle is the gateway's view of one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.types import ModelRef, RetrievalPolicy
from tasks.specs.bundle import bundle, digest
from tasks.specs.model import PromptSpec
from tests.tasks.specs.spec_files import changed

SILENT: list[tuple[str, Any]] = [
    ("version", "2.0.0"),
    ("author", "somebody else"),
    ("description", "other"),
    ("changelog", "other"),
    ("variables.question.description", "other"),
    ("cache", {"ttl": "1h", "warm_top": 3, "stale_for": "2h"}),
    ("gate.margin", 0.2),
    ("canary", {"steps": [50], "window": "2m"}),
    ("budget", {"daily_usd": 3}),
    ("approval", "required"),
]
"""What people may change of a version."""

AUDIBLE: list[tuple[str, Any]] = [
    ("name", "other"),
    ("template.0.content", "Answer well, from:\n{{context}}"),
    ("template.0.role", "developer"),
    ("template", list(reversed(changed({})["template"]))),
    ("variables.question.max_chars", 100),
    ("variables.question.required", False),
    ("variables.question.default", "Why?"),
    ("retrieval.collection", "other"),
    ("retrieval.top_k", 4),
    ("retrieval.query", "help: {{question}}"),
    ("model.chain", ["openai/other"]),
    ("model.chain", ["openai/gpt-4.1-mini", "openai/other"]),
    ("model.temperature", 0.5),
    ("model.max_tokens", 101),
    ("model.timeout", 10),
    ("model.params", {"seed": 1}),
    ("personal", True),
    ("tools", ["search_documents"]),
    ("tools", ["calculate"]),
    ("tools", ["calculate", "search_documents"]),
]
"""What decides an answer."""

BASE = digest(PromptSpec.model_validate(changed({})))


@given(st.lists(st.sampled_from(SILENT), unique_by=lambda change: change[0]))
def test_what_people_may_change_leaves_the_digest(changes: list[tuple[str, Any]]) -> None:
    assert digest(PromptSpec.model_validate(changed(dict(changes)))) == BASE


@given(st.lists(st.sampled_from(SILENT), unique_by=lambda change: change[0]), st.sampled_from(AUDIBLE))
def test_whatever_decides_an_answer_changes_the_digest(silent: list[tuple[str, Any]], audible: tuple[str, Any]) -> None:
    content = changed({**dict(silent), audible[0]: audible[1]})
    assert digest(PromptSpec.model_validate(content)) != BASE


def test_each_such_change_has_a_digest_of_its_own() -> None:
    digests = [digest(PromptSpec.model_validate(changed({place: value}))) for place, value in AUDIBLE]
    assert len(set(digests)) == len(AUDIBLE)


def test_the_order_of_mappings_and_ways_of_writing_do_not_matter() -> None:
    content = changed({"model.temperature": 0.0, "model.timeout": "30s"})
    shuffled = dict(reversed(content.items()))
    assert digest(PromptSpec.model_validate(shuffled)) == BASE


def test_the_bundle_says_which_tools_there_are_and_how_long_an_answer_may_stand_in() -> None:
    spec = PromptSpec.model_validate(changed({"tools": ["calculate", "search_documents"], "cache.stale_for": "2h"}))
    version = bundle(spec, "acme")
    assert (version.tools, version.cache.stale_for) == (("calculate", "search_documents"), 7200.0)


def test_versions_from_before_there_were_tools_are_still_what_they_were() -> None:
    assert BASE == "530bdb638d86aa1505b6abe8856f07428a867576fa01fdb3fa33a73a90bb6ddd"


@pytest.mark.parametrize(("temperature", "tokens"), [(0.7, 5), (None, None)])
def test_the_bundle_holds_what_the_gateway_needs(temperature: float | None, tokens: int | None) -> None:
    spec = PromptSpec.model_validate({**changed({}), "model": {"chain": ["a/b", "c/d/e"], "params": {"seed": 1}}})
    spec = spec.model_copy(
        update={"model": spec.model.model_copy(update={"temperature": temperature, "max_tokens": tokens})}
    )
    version = bundle(spec, "acme")
    assert (version.tenant, version.ref, version.digest) == ("acme", "help@1.0.0", digest(spec))
    assert version.chain == (ModelRef("a", "b"), ModelRef("c", "d/e"))
    assert version.retrieval == RetrievalPolicy("help", "{{question}}", 3, "context")
    assert (version.tools, version.cache.stale_for) == ((), 0.0)
    expected: dict[str, Any] = {"seed": 1, "temperature": temperature, "max_tokens": tokens}
    assert version.params == {key: value for key, value in expected.items() if value is not None}
