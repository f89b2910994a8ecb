"""What is declared when an experiment starts: kept in its row, and the same for all of its life."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.releases.evidence import QUALITY
from tasks.statistics.thompson import LEAST_FLOOR

LONGEST = 14 * 86_400.0


class ExperimentOptions(BaseModel):
    """``floor`` and ``evidence_share`` in [0, 1], durations in seconds.

    What the gateway goes by (``context_keys``, ``fall_back``, ``evidence_share``) stands here too: the row has both.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    metric: str = Field(
        QUALITY,
        min_length=1,
        max_length=64,
        description="The score that arms are compared on; judge, assertion or feedback.",
    )
    context_keys: tuple[str, ...] = ()
    fall_back: bool = False
    evidence_share: float = Field(1.0, ge=0.0, le=1.0, description="Share of users whose calls bypass the cache.")
    discount: float = Field(1.0, gt=0.0, le=1.0, description="What an outcome still counts after a further one.")
    floor: float = Field(LEAST_FLOOR, ge=LEAST_FLOOR, le=0.5, description="Least share of an arm that takes part.")
    batch: int = Field(50, ge=1, description="New outcomes after which a bandit changes its weights.")
    alpha: float = Field(0.05, gt=0.0, lt=0.5, description="P(any wrong statement, ever) of this experiment.")
    margin: float = Field(0.05, gt=0.0, lt=1.0, description="Of the failure guardrail: what would be acceptable.")
    tolerance: float = Field(0.0, ge=0.0, lt=1.0, description="How many more failures are still no reason to exclude.")
    window: float = Field(900.0, gt=0.0, le=LONGEST, description="For how long a user's answers are collected.")
    scoring_grace: float = Field(
        120.0, ge=0.0, le=LONGEST, description="Scores that arrive later are reported, never tested."
    )
    block_baseline_users: int = Field(4, ge=1, le=20, description="Most baseline users beside one user of an arm.")
    max_days: float = Field(14.0, gt=0.0, le=365.0, description="After this it ends, decided or not.")
    author: str = ""
