"""How many questions are answered before the budget is looked at again."""

import pytest

from tasks.specs.model import BackgroundSpec
from tasks.warming import A_FEW, how_many

SINGLY, BATCHED = BackgroundSpec(), BackgroundSpec(batching="batch_api")


@pytest.mark.parametrize(
    ("answered", "spent", "background", "expected"),
    [
        (0, 0.0, SINGLY, A_FEW),
        (160, 0.1, SINGLY, A_FEW),
        (0, 0.0, BATCHED, A_FEW),
        (16, 0.0, BATCHED, A_FEW),  # all of it was warm, or without a known price
        (16, 0.16, BATCHED, 84),
        (16, 0.99, BATCHED, A_FEW),
    ],
)
def test_a_batch_is_as_large_as_the_budget_is_likely_to_pay_for(
    answered: int, spent: float, background: BackgroundSpec, expected: int
) -> None:
    assert how_many(answered, spent, 1.0, background) == expected
