"""An upper bound is one: for every use of it, by the real prices."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits import estimate
from gateway.pricing import price
from gateway.types import Cost, ModelRef, Usage

CHAINS = (
    (ModelRef("openai", "gpt-4.1-mini"),),
    (ModelRef("openai", "gpt-4.1-mini"), ModelRef("anthropic", "claude-sonnet-4-5")),
    (ModelRef("anthropic", "claude-sonnet-4-5"), ModelRef("openai", "gpt-4.1")),
)
AT = 1_760_000_000.0


@settings(deadline=None)  # the first look into the prices reads all of them
@given(
    chain=st.sampled_from(CHAINS),
    link=st.integers(0, 1),
    most=st.tuples(st.integers(1, 400_000), st.integers(1, 100_000)),
    shares=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_no_usage_within_the_bounds_costs_more(
    chain: tuple[ModelRef, ...], link: int, most: tuple[int, int], shares: tuple[float, ...]
) -> None:
    bound = estimate.dearest(chain, *most, price, AT, Decimal(0))
    used, output = int(most[0] * shares[0]), int(most[1] * shares[1])
    cached = int(used * shares[2])
    usage = Usage(used, output, cached, int((used - cached) * shares[3]))
    ref = chain[link % len(chain)]
    cost = price(ref.provider, ref.model, usage, AT).usd
    assert cost is not None
    assert cost <= bound.usd
    assert bound.unpriced == ()


def test_an_unknown_link_counts_the_assumed_price_unless_another_is_dearer() -> None:
    def some_price(provider: str, model: str, usage: Usage, at: float) -> Cost:
        return Cost(Decimal(usage.input_tokens) if model == "known" else None)

    known, unknown = ModelRef("p", "known"), ModelRef("p", "unknown")
    assert estimate.dearest((known, unknown), 10, 10, some_price, AT, Decimal(1_000_000)) == estimate.Bound(
        Decimal(20), (unknown,)
    )
    assert estimate.dearest((known, unknown), 10, 10, some_price, AT, Decimal(0)).usd == Decimal(10)


@pytest.mark.parametrize(
    ("params", "output"),
    [
        ({}, 4096),
        ({"max_tokens": 10}, 10),
        ({"max_completion_tokens": 20, "max_tokens": 10}, 20),
        ({"max_tokens": 10, "n": 3}, 30),
        ({"max_tokens": None}, 4096),
        ({"max_tokens": "10"}, 4096),
    ],
)
def test_the_most_output(params: dict[str, Any], output: int) -> None:
    assert estimate.most_output(params, 4096) == output


@given(st.text())
def test_no_text_has_more_tokens_than_bytes(text: str) -> None:
    messages = ({"role": "user", "content": text},)
    assert estimate.most_input(messages, {}) >= len(text.encode("utf-8", "surrogatepass"))


def test_what_is_sent_counts_and_what_is_not_does_not() -> None:
    messages = ({"role": "user", "content": [{"type": "text", "text": "Hi"}]},)
    plain = estimate.most_input(messages, {"temperature": 0, "user": "x" * 1000})
    assert plain < 200
    assert estimate.most_input(messages, {"tools": [{"name": "x" * 1000}]}) > plain + 2000
    picture = ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e/x.png"}}]},)
    assert estimate.most_input(picture, {}) > estimate.ATTACHMENT_TOKENS


def test_half_a_surrogate_pair_is_no_trouble() -> None:
    assert estimate.likely_tokens(({"role": "user", "content": "\ud800"},), {"max_tokens": 1}, 4096) > 1


def test_nanodollars_round_up() -> None:
    assert estimate.nanodollars(Decimal("0.0000000001")) == 1
    assert estimate.nanodollars(Decimal("1.5")) == 1_500_000_000
