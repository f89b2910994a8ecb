"""The share of right answers by a judge that errs: as it says it, and corrected for its errors. Seeded; pure.

Users by the Bayesian bootstrap, the judge's sensitivity and specificity from their posteriors, and the correction of
Rogan and Gladen: all as in ``business``, which has the sources. The same judge erred on both arms, so a draw of its
errors is that of both.
"""

from dataclasses import dataclass

import numpy as np

from tasks.statistics.business import (
    DRAWS,
    FEWEST_USERS,
    ArmUsers,
    Estimate,
    JudgeErrors,
    corrected_draws,
    estimate,
    judge_draws,
    share_draws,
)


@dataclass(frozen=True, slots=True)
class ArmRight:
    """One arm's share of right answers. ``users`` and ``calls`` are those that were judged."""

    users: int
    calls: int
    judged: Estimate
    corrected: Estimate


@dataclass(frozen=True, slots=True)
class Right:
    """Both arms, and the candidate's share minus that of stable."""

    stable: ArmRight
    canary: ArmRight
    judged_difference: Estimate
    corrected_difference: Estimate


def share_right(
    stable: ArmUsers, canary: ArmUsers, judge: JudgeErrors, *, seed: int, draws: int = DRAWS
) -> Right | None:
    """None while an arm has fewer than five judged users. Of ``ArmUsers`` only ``judged`` and ``resolved`` are used."""
    rng = np.random.default_rng(seed)
    errors = judge_draws(judge, draws, rng)
    arms, said, true = [], [], []
    for users in (stable, canary):
        known = int((users.judged > 0).sum())
        if known < FEWEST_USERS:
            return None
        said.append(share_draws(users, draws, rng))
        true.append(corrected_draws(said[-1], errors, rng))
        arms.append(ArmRight(known, int(users.judged.sum()), estimate(said[-1]), estimate(true[-1])))
    return Right(arms[0], arms[1], estimate(said[1] - said[0]), estimate(true[1] - true[0]))
