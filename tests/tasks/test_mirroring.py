"""Which prompts may be mirrored at all."""

from typing import Any

import pytest

from gateway.errors import Conflict
from gateway.settings import Settings
from tasks.mirroring import check_mirrored_tools
from tasks.specs.model import PromptSpec


def spec(**changes: Any) -> PromptSpec:
    content: dict[str, Any] = {
        "name": "help",
        "version": "1.0.0",
        "template": [{"role": "user", "content": "{{question}}"}],
        "variables": {"question": {}},
        "model": {"chain": ["openai/gpt-4.1-mini"]},
        "canary": {"mirror": {}},
    }
    return PromptSpec.model_validate(content | changes)


def settings(*modules: str) -> Settings:
    return Settings(tools=list(modules))


def test_the_defaults_of_a_mirror() -> None:
    mirror = spec().canary.mirror
    assert mirror is not None
    assert (mirror.share, mirror.calls, mirror.max_hours, mirror.budget_usd) == (10.0, 50, 24.0, 1.0)
    assert spec(canary={}).canary.mirror is None, "nothing is mirrored unless it is asked for"


@pytest.mark.parametrize(
    "mirror", [{"share": 0}, {"share": 101}, {"calls": 9}, {"max_hours": 0}, {"budget_usd": 0}, {"max_cost_ratio": 0.5}]
)
def test_a_mirror_that_cannot_be(mirror: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(mirror))):
        spec(canary={"mirror": mirror})


def test_personal_prompts_have_no_calls_to_mirror() -> None:
    with pytest.raises(ValueError, match="personal calls are not mirrored"):
        spec(personal=True)


def test_tools_with_effects_must_not_run_behind_a_users_back() -> None:
    module = "tests.gateway.api.yard_tools"
    with pytest.raises(Conflict, match="cannot be mirrored: its tool"):
        check_mirrored_tools(settings(module), spec(tools=["ticket"]))
    check_mirrored_tools(settings(module), spec(tools=["calculate"]))
    check_mirrored_tools(settings(module), spec(tools=["ticket"], canary={}))
