"""Pictures of a release under way, from its steps: for its page in Prefect and its run in MLflow. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.storage.models import ReleaseStepRow
from tasks.certificates.charts import one_picture, release_charts
from tasks.certificates.drawing import alone
from tasks.certificates.record import last_business, told_steps
from tasks.releases.stages import Stage

EACH_OF_THE_FIRST, THEN_EVERY = 10, 10


def worth_drawing(stage: str, evidence: Mapping[str, Any]) -> bool:
    """Each of the first looks, then every tenth, and the verdict: a release of weeks must not leave a picture a minute.

    ``evidence`` is that of the step that was just taken.
    """
    look = evidence.get("look")
    if look is None:
        return False
    return not Stage(stage).open or look <= EACH_OF_THE_FIRST or look % THEN_EVERY == 0


def picture(name: str, steps: Sequence[ReleaseStepRow]) -> str:
    """Everything in one SVG file."""
    return one_picture(name, release_charts(told_steps(steps), last_business(steps)))


def picture_files(steps: Sequence[ReleaseStepRow]) -> dict[str, str]:
    """One SVG file a chart, by path."""
    drawn = release_charts(told_steps(steps), last_business(steps))
    return {
        f"pictures/{title.lower().replace(' ', '-').replace(',', '')}.svg": alone([(title, one)])
        for title, one in drawn.items()
    }
