"""Stems by table: inflections that customers mix must meet, and words that differ must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.embedding.words import stem, words


@pytest.mark.parametrize(
    "family",
    [
        "refund refunds refunded refunding",
        "cancel cancels cancelled canceling cancellation cancellations",
        "ship ships shipped shipping shipment shipments",
        "deliver delivery deliveries delivered",
        "invoice invoices invoiced invoicing",
        "subscribe subscribed subscription subscriptions",
        "battery batteries",
        "company companies",
        "box boxes",
        "pass passes",
        "pay paid paying",
        "use uses used using usage",
    ],
)
def test_a_family_has_one_stem(family: str) -> None:
    assert len({stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize("pair", ["ship shop", "plan plant", "bill bell", "sing thing", "30 300", "status state"])
def test_different_words_stay_apart(pair: str) -> None:
    first, second = pair.split()
    assert stem(first) != stem(second)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What's the COST, please?", ["what", "the", "cost", "please"]),
        ("I can\u2019t log in", ["i", "cant", "log", "in"]),
        ("Café 24/7 — 4°C", ["cafe", "24", "7", "4", "c"]),
        ("", []),
        ("?!", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text())
def test_any_text_has_words_with_stems(text: str) -> None:
    assert all(word and stem(word) for word in words(text))
