"""One standard for every block: what a person sees in Prefect's interface, and what nobody may see."""

import inspect
from typing import get_args

import pytest
from prefect.blocks.core import Block
from pydantic import SecretStr

import blocks.connections
import blocks.policies
import blocks.providers
from blocks.workspace import ALL

SECRET_WORDS = ("api_key", "webhook", "database", "redis_url", "password", "secret")


def declared() -> list[type[Block]]:
    modules = (blocks.connections, blocks.policies, blocks.providers)
    found = [kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)]
    return [kind for kind in found if issubclass(kind, Block) and kind is not Block]


def test_every_block_belongs_to_the_workspace() -> None:
    assert set(declared()) == set(ALL)
    assert len({kind.get_block_type_slug() for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_block_says_what_it_is_and_how_it_is_loaded(kind: type[Block]) -> None:
    assert kind.get_block_type_slug().startswith("promptyard-")
    assert str(kind._block_type_name).startswith("promptyard: ")
    assert (kind.get_description() or "").endswith(".")
    example = kind.get_code_example() or ""
    assert f"from {kind.__module__} import {kind.__name__}" in example
    assert f'{kind.__name__}.load("default")' in example
    compile("\n".join(line for line in example.splitlines() if not line.startswith("```")), "example", "exec")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_saved_block_can_always_be_loaded(kind: type[Block]) -> None:
    """A field without a default would break every block that was saved before it existed."""
    assert kind.model_fields
    for name, field in kind.model_fields.items():
        assert not field.is_required(), name
    kind()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_field_is_described(kind: type[Block]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_what_may_hold_a_secret_is_one(kind: type[Block]) -> None:
    for name, field in kind.model_fields.items():
        if any(word in name for word in SECRET_WORDS):
            assert SecretStr in (field.annotation, *get_args(field.annotation)), name
    secrets = {name: SecretStr("hunter2") for name, field in kind.model_fields.items() if field.annotation is SecretStr}
    shown = kind(**secrets)
    assert "hunter2" not in f"{shown!r} {shown}"
