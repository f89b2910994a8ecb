"""What the judge says of a release's answers, corrected for how it erred on labelled examples. Reported, never tested.

The calibration is copied into the release's policy when it is opened, so that a replay corrects by the same figures.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import JudgeCalibrationRow
from gateway.storage.upsert import insert_or_replace
from gateway.types import CANARY, STABLE
from tasks.releases.business import by_arm
from tasks.releases.look import Shown
from tasks.statistics.business import JudgeErrors
from tasks.statistics.judged import share_right


@dataclass(frozen=True)
class LabelCounts:
    """Labelled examples: right answers that the judge found right or missed, wrong ones found wrong or taken for right.

    ``right_from``: the score from which the judge calls an answer right.
    """

    judge: str
    model: str
    right_from: float
    true_right: int
    missed: int
    true_wrong: int
    false_right: int

    @property
    def errors(self) -> JudgeErrors:
        return JudgeErrors(self.true_right, self.missed, self.true_wrong, self.false_right)


def keep_counts(engine: Engine, clock: Clock, tenant: str, counts: LabelCounts) -> None:
    """They stand for this version of the judge until it is calibrated again. Raises StorageUnavailable."""
    with writing(engine) as session:
        row = {"tenant": tenant, **asdict(counts), "calibrated_at": clock.now()}
        insert_or_replace(session, JudgeCalibrationRow, row)


def known_counts(engine: Engine, tenant: str, judge: str) -> LabelCounts | None:
    """Of this version of the judge; None where it was never calibrated. Raises StorageUnavailable."""
    with reading(engine) as session:
        row = session.get(JudgeCalibrationRow, (tenant, judge))
    if row is None:
        return None
    return LabelCounts(**{name: getattr(row, name) for name in LabelCounts.__dataclass_fields__})


def calibration_of(policy: Mapping[str, Any]) -> LabelCounts | None:
    """As it was when the release was opened; None where its judge had not been calibrated."""
    return LabelCounts(**policy["judge"]) if policy.get("judge") else None


def judged(shown: Shown, counts: LabelCounts, *, release_id: str) -> dict[str, Any] | None:
    """The share of right answers by arm, as the judge says and corrected, with 95 % intervals; None while too few.

    Failed calls have no answer to judge. Seeded by the release's id, so that a replay gives the same figures.
    """
    arms = by_arm((call for call in shown.calls if call.status == "ok"), counts.right_from)
    seed = int.from_bytes(hashlib.sha256(release_id.encode()).digest()[4:8], "big")
    found = share_right(arms[STABLE], arms[CANARY], counts.errors, seed=seed)
    if found is None:
        return None
    return {
        "judge": counts.judge,
        "right_from": counts.right_from,
        "labelled": counts.true_right + counts.missed + counts.true_wrong + counts.false_right,
        "arms": [{"arm": name, **asdict(one)} for name, one in (("stable", found.stable), ("canary", found.canary))],
        "judged_difference": asdict(found.judged_difference),
        "corrected_difference": asdict(found.corrected_difference),
    }


def judged_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As a table: arm by arm, then the difference."""
    rows = [
        {"arm": one["arm"], "answers": one["calls"], "judged": one["judged"], "corrected": one["corrected"]}
        for one in found["arms"]
    ]
    difference = {"judged": found["judged_difference"], "corrected": found["corrected_difference"]}
    rows.append({"arm": "difference", "answers": None, **difference})
    return [
        {
            "arm": row["arm"],
            "answers": row["answers"],
            "right, as judged": row["judged"]["mean"],
            "corrected": row["corrected"]["mean"],
            "from": row["corrected"]["lower"],
            "to": row["corrected"]["upper"],
        }
        for row in rows
    ]
