"""What is kept of a call: by table."""

from decimal import Decimal

import pytest
from msgspec import structs

from gateway.errors import ClientGone, PromptyardError, ProviderTimeout, StorageUnavailable
from gateway.ledger.records import (
    CallRecord,
    ScoreRecord,
    call_record,
    failure_record,
    implied_layers,
    question_of,
    score_record,
)
from gateway.storage.models import CallRow, ScoreRow
from gateway.trail import Trail
from gateway.types import Attempt, Call, Cost, Layer, ModelRef, Passage, PromptVersion, RetrievalPolicy
from tests.gateway.ledger.ledger_values import answer, call

GROUNDED = PromptVersion(
    tenant="acme", name="help", version="1.1.0", digest="d", template=(), chain=(ModelRef("openai", "small"),),
    retrieval=RetrievalPolicy("faq", "{{question}}"),
)  # fmt: skip
PASSAGE = Passage("returns", 3, "Returns", "Thirty days.", 0.9)


def test_records_have_exactly_the_columns_of_their_tables() -> None:
    assert set(CallRecord.__struct_fields__) == set(CallRow.__table__.columns.keys())
    assert set(ScoreRecord.__struct_fields__) == set(ScoreRow.__table__.columns.keys())


@pytest.mark.parametrize(
    ("layer", "price", "cost", "saved"),
    [
        (Layer.NONE, Decimal("0.5"), Decimal("0.5"), Decimal(0)),
        (Layer.EXACT, Decimal("0.5"), Decimal(0), Decimal("0.5")),
        (Layer.COALESCED, Decimal("0.5"), Decimal(0), Decimal("0.5")),
        (Layer.NONE, None, None, Decimal(0)),
        (Layer.EXACT, None, Decimal(0), None),
    ],
)
def test_money_is_spent_once_and_unknown_stays_unknown(
    layer: Layer, price: Decimal | None, cost: Decimal | None, saved: Decimal | None
) -> None:
    kept = call_record(answer(layer=layer, cost=Cost(price)), content=True)
    assert (kept.cost_usd, kept.saved_usd) == (cost, saved)


@pytest.mark.parametrize(
    ("layer", "reason", "said", "written"),
    [
        (Layer.EXACT, "hit", {"exact": "hit"}, False),
        (Layer.LOCAL, "hit", {"local": "hit"}, False),
        (Layer.NONE, "miss", {"exact": "miss"}, False),
        (Layer.NONE, "miss", {"local": "miss"}, True),
        (Layer.NONE, "miss", {"exact": "miss", "semantic": "shadow", "embedding": "hit"}, True),
        (Layer.SEMANTIC, "hit", {"exact": "miss", "semantic": "hit"}, True),
        (Layer.STALE, "all_providers_failed", {"exact": "expired"}, True),
        (Layer.NONE, "", {}, False),
    ],
)
def test_what_the_layers_said_can_be_told_from_a_record(
    layer: Layer, reason: str, said: dict[str, str], written: bool
) -> None:
    given = structs.replace(answer(layer=layer), cache_reason=reason, layers=said)
    kept = call_record(given, content=True, trail=Trail(call=given.call, begun=0.0))
    assert ("layers" in kept.explanation) == written
    assert kept.explanation.get("layers", implied_layers(kept.layer, kept.cache_reason)) == said


def test_content_off_keeps_no_word_of_the_user_or_the_answer() -> None:
    asked = call(
        version=GROUNDED, variables={"question": "SECRET"}, messages=({"role": "user", "content": "SECRET"},),
        query="SECRET", passages=(Passage("d", 1, "SECRET", "SECRET", 1.0),), context="SECRET",
    )  # fmt: skip
    assert "SECRET" not in str(call_record(answer(asked, "SECRET"), content=False))
    assert "SECRET" not in str(
        failure_record(Trail(call=asked, begun=0.0), PromptyardError("SECRET"), 1.0, content=False)
    )


@pytest.mark.parametrize(
    ("asked", "question"),
    [
        (call(variables={"question": "Why?", "name": "Ann"}), "Why?"),
        (call(variables={"topic": "Returns"}), "Returns"),
        (call(variables={"b": "2", "a": "1"}), "a: 1\nb: 2"),
        (call(variables={"question": "Why?"}, messages=({"role": "user", "content": "And now?"},)), "And now?"),
        (call(messages=({"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}]},)), "Look"),
        (call(rendered=({"role": "system", "content": "s"}, {"role": "user", "content": "r"})), "r"),
        (call(), ""),
    ],
)
def test_the_question_is_what_the_user_asked(asked: Call, question: str) -> None:
    assert question_of(asked) == question


def test_grounding_does_not_change_question_and_variables() -> None:
    before = call(version=GROUNDED, variables={"question": "Why?"})
    after = call(
        version=GROUNDED, variables={"question": "Why?"}, passages=(PASSAGE,), context="[returns] Thirty days."
    )
    early, late = call_record(answer(before), content=True), call_record(answer(after), content=True)
    assert (late.question, late.variables) == (early.question, early.variables)
    assert early.context is None
    assert late.context == "[returns] Thirty days."


class Exhausted(ProviderTimeout):
    attempts = (Attempt("openai", "small", 2000.0, "provider_timeout"),)


@pytest.mark.parametrize(
    ("error", "spent", "cost", "provider"),
    [
        (StorageUnavailable("no index"), [], Decimal(0), ""),
        (Exhausted("late"), [Cost()], None, "openai"),
        (ProviderTimeout("cut", provider="anthropic"), [Cost(Decimal("0.1"))], Decimal("0.1"), "anthropic"),
        (ClientGone("left"), [Cost(Decimal("0.1")), Cost(Decimal("0.2"))], Decimal("0.3"), "openai"),
        (ClientGone("left"), [Cost(Decimal("0.1")), Cost()], None, "openai"),
    ],
)
def test_a_failure_names_its_error_and_never_invents_a_cost(
    error: PromptyardError, spent: list[Cost], cost: Decimal | None, provider: str
) -> None:
    asked = ModelRef("openai", "small") if spent else None
    kept = failure_record(Trail(call=call(version=GROUNDED), begun=0.0, asked=asked, costs=spent), error, 7.0, True)
    assert (kept.status, kept.error, kept.cost_usd) == ("failed", error.code, cost)
    assert (kept.provider, kept.version) == (provider, "1.1.0")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_score_outside_of_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="0, 1"):
        score_record("call_1", "acme", "helpful", "feedback", value, 1.0)
