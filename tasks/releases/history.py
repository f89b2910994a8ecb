"""Which version a rollback goes back to next: the promotions of a prompt, read backwards."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.storage.models import ReleaseRow
from tasks.releases.stages import Stage


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
