"""The rows that serve a prompt, as every transaction that changes them reads them: the prompt first, and locked."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from gateway.errors import NotFound
from gateway.storage.models import ExperimentRow, PromptRow, PromptVersionRow, ReleaseRow


def locked_prompt(session: Session, tenant: str, name: str) -> PromptRow:
    """Raises NotFound. Who changes what serves a prompt locks it first: nobody deadlocks, and nobody is overlooked."""
    row = session.get(PromptRow, (tenant, name), with_for_update=session.get_bind().dialect.name == "postgresql")
    if row is None:
        raise NotFound(f"there is no prompt named {name!r}", hint="'promptyard versions' lists the prompts.")
    return row


def known_version(session: Session, tenant: str, name: str, version: str) -> PromptVersionRow:
    """Raises NotFound."""
    row = session.get(PromptVersionRow, (tenant, name, version))
    if row is None:
        raise NotFound(f"{name} has no version {version}", hint=f"'promptyard versions {name}' lists them.")
    return row


def open_release_of(session: Session, tenant: str, prompt: str) -> ReleaseRow | None:
    """Locked, after its prompt."""
    return session.scalar(select(ReleaseRow).where(ReleaseRow.open_slot == f"{tenant}/{prompt}").with_for_update())


def open_experiment_of(session: Session, tenant: str, prompt: str) -> ExperimentRow | None:
    """Locked, after its prompt."""
    mine = (ExperimentRow.tenant == tenant, ExperimentRow.prompt == prompt, ExperimentRow.stage == "open")
    return session.scalar(select(ExperimentRow).where(*mine).with_for_update())
