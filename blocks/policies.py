"""Defaults of gate and canary for every prompt; what a prompt.yaml says wins."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field


class GatePolicy(Block):
    """When a version may go on to live traffic.

    Example:
        ```python
        from blocks.policies import GatePolicy
        policy = GatePolicy.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: gate policy"
    _block_type_slug: ClassVar[str] = "promptyard-gate-policy"
    _description: ClassVar[str] = "Margin, floor and judge of the evaluation gate."

    margin: float = Field(0.05, gt=0, lt=1, description="How much worse than production the mean score may be.")
    floor: float = Field(0.8, ge=0, le=1, description="Mean score that a version must reach in any case.")
    alpha: float = Field(0.05, gt=0, lt=1, description="Error probability of the gate's intervals.")
    judge_model: str = Field("openai/gpt-4.1", description="provider/model that scores answers.")

    def defaults(self) -> dict[str, Any]:
        """As the section ``gate`` of a prompt.yaml."""
        return {
            "margin": self.margin,
            "floor": self.floor,
            "alpha": self.alpha,
            "judge": {"model": self.judge_model},
        }


class CanaryPolicy(Block):
    """How live traffic decides about a version.

    Example:
        ```python
        from blocks.policies import CanaryPolicy
        policy = CanaryPolicy.load("default")
        ```
    """

    _block_type_name: ClassVar[str] = "promptyard: canary policy"
    _block_type_slug: ClassVar[str] = "promptyard-canary-policy"
    _description: ClassVar[str] = "Steps, margin and error probability of canary releases."

    steps: list[float] = Field([10.0, 25.0, 50.0], description="Percent of users, growing.")
    alpha: float = Field(0.05, gt=0, lt=1, description="Bound on promoting a version worse than the margin.")
    margin: float = Field(0.05, gt=0, lt=1, description="Loss that promotion must rule out.")
    tolerance: float = Field(0.0, ge=0, lt=1, description="Loss that is no reason to roll back yet.")

    def defaults(self) -> dict[str, Any]:
        """As the section ``canary`` of a prompt.yaml."""
        return {"steps": self.steps, "alpha": self.alpha, "margin": self.margin, "tolerance": self.tolerance}
