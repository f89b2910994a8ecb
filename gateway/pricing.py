"""What a call cost, by the offline price data of ``genai-prices``. An unknown price is None, never 0.

The data is looked up once per model; a call then costs three multiplications.
"""

import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from gateway.types import Cost, Usage

_QUARTER = 900
"""Seconds. Prices change at full hours or at the quarters of one (off-peak prices)."""
_MILLION = Decimal(1_000_000)
_IN_BATCH = {"processing": "batch"}
_BATCH_SHARE = Decimal("0.5")
"""What a batch costs where the data does not list it: https://platform.openai.com/docs/guides/batch and
https://platform.claude.com/docs/en/build-with-claude/batch-processing#pricing, both half of the standard price."""


def price(provider: str, model: str, usage: Usage, at: float | None = None, *, batched: bool = False) -> Cost:
    """The price of ``usage`` at the time ``at`` (seconds since the epoch; None is now), ``batched`` of a batch API.

    Input tokens read from or written to the provider's cache are charged at their own prices where there are any. The
    unit prices on the result are those of the tier that applied. ``usd`` is None for a model that the data does not
    know, and for usage that is not complete.
    """
    moment = time.time() if at is None else at
    return _priced(provider, model, usage, int(moment // _QUARTER) * _QUARTER, batched)


@lru_cache(maxsize=4096)  # a cached answer has the same usage each time it is served
def _priced(provider: str, model: str, usage: Usage, at: int, batched: bool) -> Cost:
    info = _model_info(provider, model)
    if info is None:
        return Cost(data_version=data_version())
    moment = datetime.fromtimestamp(at, UTC)
    listed = batched and _lists_batches(info, moment)
    share = _BATCH_SHARE if batched and not listed else None
    prices = info.get_prices(moment, _IN_BATCH if listed else None)
    input_price = _tier(prices.input_mtok, usage.input_tokens, share)
    output_price = _tier(prices.output_mtok, usage.input_tokens, share)
    # a model may be listed by other units (hours, images) than tokens, and an embedding has no output price
    unpriced = (input_price is None and usage.input_tokens) or (output_price is None and usage.output_tokens)
    if unpriced or input_price is output_price is None:
        return Cost(input_per_mtok=input_price, output_per_mtok=output_price, data_version=data_version())
    if not usage.complete:
        return Cost(input_per_mtok=input_price, output_per_mtok=output_price, data_version=data_version())
    read, written, written_1h = usage.cached_input_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    total = (input_price or 0) * (usage.input_tokens - read - written) + (output_price or 0) * usage.output_tokens
    if read or written:
        read_price = _tier(prices.cache_read_mtok, usage.input_tokens, share)
        write_price = _tier(prices.cache_write_mtok, usage.input_tokens, share)
        write_price = input_price if write_price is None else write_price
        write_1h_price = _tier(prices.cache_write_1h_mtok, usage.input_tokens, share)
        total += (
            ((input_price if read_price is None else read_price) or 0) * read
            + (write_price or 0) * (written - written_1h)
            + ((write_price if write_1h_price is None else write_1h_price) or 0) * written_1h
        )
    return Cost(total / _MILLION, input_price, output_price, data_version())


def load() -> str:
    """Reads the price data now, which takes up to half a second, rather than at the first call; its version."""
    _model_info("openai", "gpt-4.1-mini")
    return data_version()


@lru_cache(maxsize=1)
def data_version() -> str:
    """Which price data: ``genai-prices <package version>``, as the data comes with the package."""
    import genai_prices  # not for those who only import the gateway: it takes a while

    return f"genai-prices {genai_prices.__version__}"


@lru_cache(maxsize=2048)
def _model_info(provider: str, model: str) -> Any:
    from genai_prices.data_snapshot import get_snapshot

    try:
        _, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return info


def _lists_batches(info: Any, moment: datetime) -> bool:
    return any(
        variant.when == _IN_BATCH and (variant.constraint is None or variant.constraint.active(moment))
        for variant in info.price_variants or ()
    )


def _tier(unit_price: Any, input_tokens: int, share: Decimal | None) -> Decimal | None:
    """Dollars for a million tokens. A tier, once its threshold of input tokens is passed, applies to all tokens."""
    from genai_prices.types import TieredPrices

    if isinstance(unit_price, TieredPrices):
        passed = [tier.price for tier in unit_price.tiers if input_tokens > tier.start]
        unit_price = Decimal(passed[-1] if passed else unit_price.base)
    if not isinstance(unit_price, Decimal):
        return None
    return unit_price if share is None else unit_price * share
