"""Registering a version: in the ledger first, which is the truth, then in MLflow, where people browse it."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError
from sqlalchemy import Engine, func, select

from gateway.clock import Clock
from gateway.errors import InvalidRequest, NotFound
from gateway.settings import Settings, SqlSettings
from gateway.storage.engine import make_engine, reading
from gateway.storage.models import DocumentRow, PromptVersionRow
from gateway.types import PromptVersion
from tasks import registry
from tasks.releases import store
from tasks.specs.bump import bump_problem
from tasks.specs.bundle import bundle, digest
from tasks.specs.commit import commit_of
from tasks.specs.model import PromptSpec
from tasks.specs.reading import SpecFile, read_spec
from tasks.step import step


class EmptyCollection(InvalidRequest):
    code = "empty_collection"


class WrongBump(InvalidRequest):
    code = "wrong_bump"
    default_hint = "Nothing was registered or changed. Correct prompt.yaml and release it again."


def engine_of(settings: Settings) -> Engine:
    """The process's engine for the ledger of these settings."""
    return _engine(settings.sql_url, settings.sql)


@lru_cache(maxsize=8)
def _engine(url: str, policy: SqlSettings) -> Engine:
    return make_engine(url, policy)


@step("read spec")
def read(path: Path, defaults: dict[str, Any], mlflow: str | None = None) -> SpecFile:
    """The spec with its datasets, checked; those kept in MLflow are read where its address is given (even ``""``).

    Raises SpecError, naming file, field and line or record, and RegistryUnavailable.
    """
    return read_spec(path, defaults, None if mlflow is None else partial(registry.dataset_records, mlflow))


@step("register version")
def register(settings: Settings, clock: Clock, file: SpecFile, tenant: str, author: str) -> PromptVersion:
    """An immutable version. Raises DuplicateVersion when the number is taken by another content, WrongBump when it does
    not fit the change, EmptyCollection when there is nothing to retrieve from, RegistryUnavailable when MLflow is
    down (run it again then)."""
    spec = file.spec
    engine = engine_of(settings)
    if spec.retrieval:
        _require_documents(engine, tenant, spec.retrieval.collection, file)
    require_right_bump(engine, tenant, spec)
    version = bundle(spec, tenant)
    row = store.register_version(
        engine,
        clock,
        PromptVersionRow(
            tenant=tenant,
            name=spec.name,
            version=spec.version,
            digest=digest(spec),
            bundle=msgspec.to_builtins(version),
            spec=spec.model_dump(mode="json", by_alias=True),
            source=str(file.path.resolve()),
            git_commit=commit_of(file.path)[:64],
            author=author or spec.author,
            changelog=spec.changelog,
            mlflow_version="",
            verdict="",
            gate_run="",
        ),
    )
    mlflow_version = registry.register_version(
        settings.mlflow_tracking_uri,
        tenant=tenant,
        prompt=spec.name,
        version=spec.version,
        template=[message.model_dump() for message in spec.template],
        digest=row.digest,
        author=author or spec.author,
        changelog=spec.changelog,
    )
    store.note_version(engine, tenant, spec.name, spec.version, mlflow_version=mlflow_version)
    return version


def require_right_bump(engine: Engine, tenant: str, spec: PromptSpec) -> None:
    """Raises WrongBump when a new number does not fit what changes against the version in production."""
    try:
        production = store.get_prompt(engine, tenant, spec.name).production
        rows = {row.version: row for row in store.list_versions(engine, tenant, spec.name)}
        before = PromptSpec.model_validate(rows[production].spec)
    except (NotFound, KeyError, ValidationError):
        return  # a first version, or one in production from before there were such specs
    if spec.version in rows:
        return  # it was checked when it was registered; another content is refused as a duplicate
    if problem := bump_problem(before, spec, frozenset(rows)):
        raise WrongBump(f"{spec.name}: {problem}")


def _require_documents(engine: Engine, tenant: str, collection: str, file: SpecFile) -> None:
    with reading(engine) as session:
        count = session.scalar(
            select(func.count())
            .select_from(DocumentRow)
            .where(DocumentRow.tenant == tenant, DocumentRow.collection == collection, DocumentRow.deleted.is_(False))
        )
    if not count:
        raise EmptyCollection(
            f"the collection {collection!r} has no documents to answer from",
            hint=f"promptyard documents put {collection} {file.folder / 'documents'}",
        )
