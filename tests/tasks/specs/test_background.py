"""The section ``background`` of a prompt.yaml."""

import pytest
import yaml
from pydantic import ValidationError

from tasks.specs.model import BackgroundSpec


@pytest.mark.parametrize(
    ("text", "batching", "pack_size"),
    [
        ("{}", "off", 1),
        ("{batching: off}", "off", 1),  # which YAML reads as false
        ("{batching: packed}", "packed", 8),
        ("{batching: packed, pack: 3}", "packed", 3),
        ("{batching: batch_api, wait: 2h}", "batch_api", 1),
    ],
)
def test_what_it_says(text: str, batching: str, pack_size: int) -> None:
    spec = BackgroundSpec.model_validate(yaml.safe_load(text))
    assert (spec.batching, spec.pack_size) == (batching, pack_size)
    assert BackgroundSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    "text", ["{batching: on}", "{batching: yes please}", "{pack: 1}", "{wait: 25h}", "{window: 1h}"]
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        BackgroundSpec.model_validate(yaml.safe_load(text))
