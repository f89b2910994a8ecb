"""A sealed release's certificate is filed with its MLflow run: record and page. MLflow may be down meanwhile.

What is filed is noted as a paid debt of the release, so every sealed one without that note is still to be filed, by
whichever reconcile finds MLflow up. One that dies between filing and noting files the same again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, select

from gateway.clock import Clock
from gateway.storage.engine import reading, writing
from gateway.storage.models import ReleaseLookRow, ReleaseRow, ReleaseStepRow
from tasks.certificates.page import page
from tasks.certificates.record import certificate
from tasks.releases.looks import SEALED
from tasks.releases.owed import SETTLED, SETTLES
from tasks.releases.store import Step, add_step

CERTIFICATE = "certificate"
HORIZON = 30 * 86_400.0
AT_A_TIME = 20

File = Callable[[ReleaseRow, Mapping[str, str]], None]
"""Puts texts by file name into the release's run. May raise: the certificate is then filed by a later reconcile."""


@dataclass(frozen=True)
class Filed:
    """What became of a certificate; ``problem`` names the error's type when it could not be filed."""

    release: ReleaseRow
    problem: str = ""


def unfiled(engine: Engine, now: float) -> list[ReleaseRow]:
    """Releases that were sealed in the last 30 days and whose certificate is not filed, oldest first."""
    sealed = select(ReleaseLookRow.release_id).where(ReleaseLookRow.kind == SEALED, ReleaseLookRow.at >= now - HORIZON)
    query = select(ReleaseRow).where(ReleaseRow.id.in_(sealed)).order_by(ReleaseRow.closed_at)
    notes = select(ReleaseStepRow).where(ReleaseStepRow.release_id.in_(sealed), ReleaseStepRow.kind == SETTLED)
    with reading(engine) as session:
        done = {step.release_id for step in session.scalars(notes) if step.evidence.get(SETTLES) == CERTIFICATE}
        return [row for row in session.scalars(query) if row.id not in done]


def file_certificates(engine: Engine, clock: Clock, file: File) -> list[Filed]:
    """File what is due; one that cannot be filed keeps none of the others waiting."""
    filed: list[Filed] = []
    for release in unfiled(engine, clock.now())[:AT_A_TIME]:
        try:
            record = certificate(engine, release.id)
            plain = json.dumps(record, indent=2, ensure_ascii=False)
            file(release, {"certificate.json": plain, "certificate.html": page(record)})
        except Exception as error:
            filed.append(Filed(release, type(error).__name__))
            continue
        _note(engine, clock, release.id)
        filed.append(Filed(release))
    return filed


def _note(engine: Engine, clock: Clock, release_id: str) -> None:
    with writing(engine) as session:
        row = session.get_one(ReleaseRow, release_id, with_for_update=True)
        add_step(session, clock, row, Step(SETTLED, "its certificate is in MLflow", {SETTLES: CERTIFICATE}))
