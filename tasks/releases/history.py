"""The promotions of a prompt: which version a rollback goes back to next, and when one was taken back."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.storage.models import ReleaseRow, ReleaseStepRow
from tasks.releases.stages import Stage

LEFT = "left"
"""The step of a promoted release that tells when and by whom its version was taken out of production by hand."""


def last_promotion(session: Session, tenant: str, prompt: str, version: str) -> ReleaseRow | None:
    """The release that brought the version into production last; locked."""
    query = (
        select(ReleaseRow)
        .where(ReleaseRow.tenant == tenant, ReleaseRow.prompt == prompt, ReleaseRow.version == version)
        .where(ReleaseRow.stage == Stage.PROMOTED.value)
        .order_by(ReleaseRow.closed_at.desc(), ReleaseRow.id.desc())
    )
    return session.scalars(query.limit(1).with_for_update()).first()


def departures(session: Session, tenant: str, prompt: str) -> dict[str, ReleaseStepRow]:
    """By release, the last step that took its version out of production."""
    query = (
        select(ReleaseStepRow)
        .join(ReleaseRow, ReleaseRow.id == ReleaseStepRow.release_id)
        .where(ReleaseRow.tenant == tenant, ReleaseRow.prompt == prompt, ReleaseStepRow.kind == LEFT)
        .order_by(ReleaseStepRow.seq)
    )
    return {step.release_id: step for step in session.scalars(query)}


def version_before(session: Session, tenant: str, prompt: str, version: str, leaving: str) -> str:
    """What served before ``version`` was promoted, once production goes back to it from ``leaving``; may be empty."""
    promoted = (
        select(ReleaseRow.version, ReleaseRow.baseline)
        .where(ReleaseRow.tenant == tenant, ReleaseRow.prompt == prompt, ReleaseRow.stage == Stage.PROMOTED.value)
        .order_by(ReleaseRow.closed_at.desc(), ReleaseRow.id.desc())
    )
    return earlier([(row.version, row.baseline) for row in session.execute(promoted)], version, leaving)


def earlier(promotions: Iterable[tuple[str, str]], version: str, leaving: str) -> str:
    """The same on ``(version, baseline)`` of every promotion, newest first. Pure.

    Only promotions older than that of ``leaving`` count, so that repeated rollbacks always end; and ``leaving`` itself
    is never the answer, because somebody has just said that it is bad. Empty when nothing is known to be behind.
    """
    history = list(promotions)
    left = next((index + 1 for index, (one, _) in enumerate(history) if one == leaving), 0)
    baseline = next((baseline for one, baseline in history[left:] if one == version), "")
    return "" if baseline == leaving else baseline
