"""What people read when a limit is near, and that the flow tells them."""

import pytest

from blocks.workspace import load_workspace
from flows.alert_limit import LimitNotice, alert_limit, sentence
from gateway.limits.notices import Notice

KEY = {"tenant": "acme", "name": "key_1", "used": "48", "limit": "60", "unit": "requests a minute", "period": "1"}


@pytest.mark.parametrize(
    ("notice", "text"),
    [
        (
            {**KEY, "kind": "key_requests", "level": "near"},
            "the requests of key key_1 (tenant acme): near the limit (48 of 60 requests a minute)",
        ),
        (
            {"kind": "model_tokens", "name": "openai/small", "level": "reached", "used": "all", "limit": "9"},
            "the tokens of openai/small: at the limit, and calls are refused or wait (all of 9 )",
        ),
        ({"kind": "new", "name": "{x}", "level": "odd"}, "a limit of {x}: odd ( of  )"),
    ],
)
def test_the_sentence(notice: dict[str, str], text: str) -> None:
    assert sentence(LimitNotice(**notice)) == text


def test_the_gateways_notice_is_what_the_flow_takes() -> None:
    payload = Notice("key_budget", "acme", "key_1", "near", "0.8", "1.0", "USD a day", "2026-11-21").payload
    assert LimitNotice(**payload).model_dump() == payload


@pytest.mark.integration
def test_people_are_told(prefect_api: str) -> None:
    load_workspace.cache_clear()
    try:
        assert alert_limit(LimitNotice(**KEY, kind="key_requests", level="near"))
    finally:
        load_workspace.cache_clear()
