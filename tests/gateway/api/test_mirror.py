"""A mirror as callers do not meet it: personal calls stay theirs, and what the candidate costs is not their money."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.prompts.projection import write_routing
from gateway.storage.engine import writing
from gateway.storage.models import CallRow, ReleaseRow
from gateway.types import PromptVersion
from tests.gateway.api.conftest import Shop
from tests.gateway_stack import Stack, prompt_version, put_into_production, until

QUESTION = "When do parcels arrive?"


def mirror(shop: Shop, candidate: PromptVersion | None = None, **policy: Any) -> None:
    """Every live call of the shop's prompt is sent to a candidate too."""
    with writing(shop.stack.engine) as session:
        other = candidate or prompt_version(shop.tenant, shop.prompt, "1.1.0")
        put_into_production(session, other)
        put_into_production(session, prompt_version(shop.tenant, shop.prompt))
        session.merge(
            ReleaseRow(
                id=f"rel_{shop.tenant}",
                tenant=shop.tenant,
                prompt=shop.prompt,
                version=other.version,
                stage="mirror",
                weight=0,
                salt="a fixed salt",
                policy={"canary": {"mirror": {"share": 100.0, "budget_usd": 1.0, **policy}}},
                opened_at=0.0,
            )
        )
        table = write_routing(session, shop.stack.clock)
    shop.stack.publish(table)


def settled(stack: Stack) -> None:
    until("nothing is mirrored any more", lambda: not len(stack.gateway.pipeline.mirroring))


def origins(shop: Shop) -> Mapping[str, int]:
    settled(shop.stack)
    return Counter(row.origin for row in rows(shop))


def rows(shop: Shop) -> list[CallRow]:
    return shop.stack.calls(shop.tenant)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"promptyard": {"personal": True}}),
        ("/v1/completion", {"personal": True}),
        ("/v1/chat", {"personal": True}),
        ("/v1/chat", {"personal": True, "stream": True}),
    ],
)
def test_what_a_caller_calls_personal_is_not_sent_to_a_candidate(shop: Shop, path: str, body: dict[str, Any]) -> None:
    mirror(shop)
    named = {"model": f"prompt:{shop.prompt}"} if path.endswith("completions") else {"prompt": shop.prompt}
    asked = {**named, "variables": {"question": QUESTION}, "user": "ada"}
    shop.http.post(path, json={**asked, **body}).raise_for_status()
    assert origins(shop) == {"live": 1}
    ours = {"promptyard": {"cache": "bypass"}} if path.endswith("completions") else {"cache": "bypass"}
    shop.http.post(path, json={**asked, **ours}).raise_for_status()
    assert origins(shop) == {"live": 2, "mirror": 1}, "or the mirror saw nobody"
