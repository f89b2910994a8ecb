"""Which variable is compared, and the call that would have asked another question."""

from typing import Any

import pytest
from msgspec import structs

from gateway.prompts.rewording import compared_variable, reworded
from gateway.types import (
    CachePolicy,
    Call,
    ModelRef,
    Passage,
    PromptVersion,
    RetrievalPolicy,
    SemanticPolicy,
    Variable,
)

VERSION = PromptVersion(
    tenant="acme",
    name="help",
    version="1.0.0",
    digest="d",
    template=({"role": "user", "content": "{{context}} {{question}} {{language}}"},),
    variables=(Variable("question"), Variable("language")),
    chain=(ModelRef("openai", "small"),),
    retrieval=RetrievalPolicy("faq", "{{question}}"),
)


def policy(variable: str) -> CachePolicy:
    return CachePolicy(semantic=SemanticPolicy(variable=variable))


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({}, "question"),
        ({"cache": policy("language")}, "language"),
        ({"cache": policy("nobody")}, ""),
        ({"retrieval": None}, ""),
        ({"retrieval": None, "variables": (Variable("text"),)}, "text"),
        ({"variables": (Variable("text"), Variable("context"))}, "text"),
        ({"retrieval": RetrievalPolicy("faq", "{{question}} {{language}}")}, ""),
        ({"retrieval": RetrievalPolicy("faq", "always the same")}, ""),
        ({"variables": ()}, ""),
    ],
)
def test_the_policys_else_the_only_one_else_the_querys(changes: dict[str, Any], variable: str) -> None:
    assert compared_variable(structs.replace(VERSION, **changes)) == variable


def test_all_that_follows_from_the_question_is_that_of_the_other_one() -> None:
    call = Call(
        id="call_1",
        tenant="acme",
        received_at=1.0,
        version=VERSION,
        variables={"question": "Why?", "language": "en"},
        query="Why?",
        rendered=({"role": "user", "content": "Why?"},),
        passages=(Passage("d", 1, "t", "x", 0.5),),
        context="x",
        epoch="e",
    )
    other = reworded(call, "question", "How come?")
    assert (other.variables, other.query) == ({"question": "How come?", "language": "en"}, "How come?")
    assert (other.rendered, other.passages, other.context) == ((), (), "")
    assert (other.epoch, other.tenant, other.version) == (call.epoch, call.tenant, call.version)
    assert call.variables["question"] == "Why?"
