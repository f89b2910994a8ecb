"""What a provider says about waiting, in all the ways that it may be said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.errors import ProviderError, ProviderRateLimited
from gateway.providers.failures import from_exception, from_status, retry_after
from gateway.providers.plain_post import Refused
from gateway.types import ModelRef

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
REF = ModelRef("p", "m")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After-Ms": "250"}, 0.25),
        ({"Retry-After-Ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After-Ms": "soon", "Retry-After": "1"}, 1.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(CIMultiDict(headers), now=NOW) == seconds
    refused = from_exception(Refused(429, CIMultiDict(headers), None), REF, now=NOW)
    assert type(refused) is ProviderRateLimited
    assert refused.retry_after == seconds


@given(st.text(max_size=40), st.sampled_from(["retry-after", "retry-after-ms"]))
def test_whatever_a_server_sends_is_seconds_or_nothing(text: str, name: str) -> None:
    seconds = retry_after({name: text}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@given(st.integers(300, 999), st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_every_status_and_body_is_an_error_that_quotes_no_more_than_identifiers(status: int, body: object) -> None:
    secret = "sk-secret value"
    error = from_status(status, {}, {"error": {"message": secret, "type": secret, "code": body}}, REF, now=NOW)
    assert isinstance(error, ProviderError)
    assert 400 <= error.status < 600
    assert secret not in str(error)
