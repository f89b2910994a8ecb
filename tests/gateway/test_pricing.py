from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pricing import price
from gateway.types import Usage

MODELS = [
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-4.1-nano"),
    ("openai", "o3"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-sonnet-4-5"),  # a tier above 200,000 input tokens
    ("anthropic", "claude-sonnet-4-6"),  # another price since a date
    ("anthropic", "claude-haiku-5-5"),
]


@settings(deadline=None)  # the first call loads the price data
@given(
    st.sampled_from(MODELS),
    st.integers(0, 500_000),
    st.integers(0, 20_000),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    st.integers(1_740_000_000, 1_790_000_000),
)
def test_it_charges_what_the_price_data_s_own_calculation_charges(
    named: tuple[str, str], tokens: int, output: int, shares: tuple[float, float, float], at: int
) -> None:
    provider, model = named
    read = int(tokens * shares[0])
    written = int((tokens - read) * shares[1])
    for_an_hour = int(written * shares[2])
    output = 0 if "embedding" in model else output
    theirs = calc_price(
        TheirUsage(
            input_tokens=tokens,
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=for_an_hour,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at, UTC),
    )
    assert price(provider, model, Usage(tokens, output, read, written, for_an_hour), at).usd == theirs.total_price


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        ("openai", "gpt-4o", Usage(1000, 100), "0.0035"),
        ("anthropic", "claude-sonnet-4-20250514", Usage(4740, 255, 0, 4735), "0.02159625"),
        ("anthropic", "claude-sonnet-4-20250514", Usage(627, 97, 0, 123), "0.00342825"),
        ("openai", "gpt-5", Usage(100, 200), "0.002125"),
    ],
)
def test_the_examples_of_the_price_data_s_own_documentation(provider: str, model: str, usage: Usage, usd: str) -> None:
    """Its README, worked out by hand: the second is 5 tokens at $3, 4735 at $3.75 and 255 at $15 a million."""
    assert price(provider, model, usage, 1_792_000_000.0).usd == Decimal(usd)


def test_what_was_not_reported_in_full_has_no_price() -> None:
    cost = price("openai", "gpt-4.1-mini", Usage(1_000, 0, complete=False))
    assert cost.usd is None
    assert cost.input_per_mtok == Decimal("0.4")


def test_a_published_example() -> None:
    """gpt-4.1-mini: $0.40 a million input tokens, $0.10 cached, $1.60 output (OpenAI's price page)."""
    cost = price("openai", "gpt-4.1-mini", Usage(1_000_000, 500_000, 250_000), 1_760_000_000.0)
    assert cost.usd == Decimal("0.3") + Decimal("0.025") + Decimal("0.8")
    assert (cost.input_per_mtok, cost.output_per_mtok) == (Decimal("0.4"), Decimal("1.6"))
    assert cost.data_version.startswith("genai-prices ")


def test_a_tier_applies_to_all_tokens_once_it_is_passed() -> None:
    below, above = (
        price("anthropic", "claude-sonnet-4-5", Usage(tokens, 0), 1_762_000_000.0) for tokens in (200_000, 200_001)
    )
    assert (below.usd, below.input_per_mtok) == (Decimal("0.6"), Decimal(3))
    assert (above.usd, above.input_per_mtok) == (Decimal("1.200006"), Decimal(6))


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("my-own-server", "gpt-4.1-mini"), ("", ""), ("openai", "whisper-1")],
)
def test_an_unknown_price_is_unknown_never_zero(provider: str, model: str) -> None:
    cost = price(provider, model, Usage(1_000, 10))
    assert cost.usd is None
    assert cost.data_version


def test_a_batch_costs_what_the_price_list_says_of_it() -> None:
    """claude-haiku-4-5 in a batch: $0.50 a million input tokens, $2.50 output (Anthropic's price page)."""
    at = 1_792_368_000.0  # 2026-10-19
    cost = price("anthropic", "claude-haiku-4-5", Usage(1_000_000, 1_000_000), at, batched=True)
    assert (cost.input_per_mtok, cost.output_per_mtok, cost.usd) == (Decimal("0.5"), Decimal("2.5"), Decimal(3))


@pytest.mark.parametrize(
    ("model", "at"),
    [("gpt-4.1-mini", 1_760_000_000.0), ("gpt-4.1", 1_760_000_000.0), ("gpt-4.1-mini", 1_795_000_000.0)],
)
def test_a_batch_is_half_the_price_whether_listed_or_not(model: str, at: float) -> None:
    usage = Usage(1_000, 100)
    single, batched = (price("openai", model, usage, at, batched=batched) for batched in (False, True))
    assert single.usd is not None
    assert batched.usd == single.usd / 2
