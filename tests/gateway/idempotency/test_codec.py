"""A kept answer renders as the one that left, and holds nothing of the question."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.chat_response import completion, last_chunks
from gateway.api.serving import answer_headers
from gateway.errors import IdempotencyConflict
from gateway.idempotency.claims import NOT_KEPT
from gateway.idempotency.codec import MAGIC, decode, encode
from gateway.types import Answer, Attempt, Call, Cost, Layer, ModelRef, Passage, PromptVersion, Reply, Usage, Variable

SECRET = "who-is-asking"
_text = st.text(max_size=20)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _floats | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_money = st.none() | st.decimals(min_value=0, max_value=10**6, allow_nan=False, allow_infinity=False)
_tokens = st.integers(0, 10**9)
_versions = st.builds(
    PromptVersion,
    tenant=_text,
    name=_text,
    version=_text,
    digest=_text,
    template=st.just(({"role": "system", "content": SECRET},)),
    variables=st.just((Variable("question", default=SECRET),)),
    chain=st.just((ModelRef("openai", "small"),)),
    params=st.just({"stop": SECRET}),
)
_calls = st.builds(
    Call,
    id=_text,
    tenant=_text,
    received_at=st.floats(0, 2e9),
    prompt=_text,
    model=_text,
    version=st.none() | _versions,
    arm=_text,
    release=_text,
    stream=st.booleans(),
    user=st.just(SECRET),
    query=st.just(SECRET),
    context=st.just(SECRET),
    variables=st.just({"question": SECRET}),
    params=st.just({"stop": SECRET}),
    messages=st.just(({"role": "user", "content": SECRET},)),
    rendered=st.just(({"role": "user", "content": SECRET},)),
    passages=st.just((Passage("id", 1, "title", SECRET, 0.5),)),
)
_replies = st.builds(
    Reply,
    message=st.dictionaries(_text, _json, max_size=4),
    finish_reason=_text,
    provider=_text,
    model=_text,
    usage=st.builds(Usage, _tokens, _tokens, _tokens, _tokens),
    attempts=st.lists(st.builds(Attempt, _text, _text, _floats, _text), max_size=3).map(tuple),
    documents=st.lists(_text, max_size=3).map(tuple),
)
answers = st.builds(
    Answer,
    call=_calls,
    reply=_replies,
    layer=st.sampled_from(Layer),
    cost=st.builds(Cost, _money, _money, _money, _text),
    latency_ms=_floats,
    first_token_ms=st.none() | _floats,
    cache_reason=_text,
)
_body = msgspec.json.Encoder(decimal_format="number").encode


@given(answers)
def test_a_kept_answer_renders_the_identical_response(answer: Answer) -> None:
    again = decode(encode(answer))
    assert _body(completion(again)) == _body(completion(answer))
    assert answer_headers(again) == answer_headers(answer)
    for with_usage in (True, False):
        assert _body(last_chunks(again, with_usage=with_usage)) == _body(last_chunks(answer, with_usage=with_usage))


@given(answers)
def test_nothing_of_the_question_is_kept(answer: Answer) -> None:
    assert SECRET.encode() not in encode(answer)


def plain_answer(**message: Any) -> Answer:
    return Answer(
        call=Call(id="call_1", tenant="acme", received_at=1_000.0),
        reply=Reply(message=message, finish_reason="stop", provider="openai", model="small", usage=Usage(1, 2)),
        layer=Layer.NONE,
        cost=Cost(Decimal("0.0010")),
        latency_ms=1.5,
    )


def test_money_keeps_its_digits() -> None:
    assert str(decode(encode(plain_answer())).cost.usd) == "0.0010"


KEPT = encode(plain_answer(content="hello"))


@pytest.mark.parametrize(
    "stored",
    [
        NOT_KEPT,
        KEPT[:-1],
        KEPT[:3],
        KEPT.replace(b"hello", b"hullo"),
        MAGIC[:-1] + b"\x02" + KEPT[len(MAGIC) :],
        MAGIC + b"\0\0\0\0",
        b"{}",
    ],
)
def test_what_is_damaged_or_foreign_is_refused(stored: bytes) -> None:
    with pytest.raises(IdempotencyConflict):
        decode(stored)


def test_what_no_response_can_hold_is_not_kept() -> None:
    assert encode(plain_answer(content="\ud800")) == NOT_KEPT
