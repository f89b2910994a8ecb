"""Which version of which document an answer was made from, and whether that version is still the current one."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Engine, select

from gateway.storage.engine import reading
from gateway.storage.models import DocumentRow

_WRITTEN = re.compile(r"doc:([^/@]+)/([^/@]+)@(\d+)")


class DocumentVersion(NamedTuple):
    """A document of a tenant's collection, at a version."""

    collection: str
    id: str
    version: int

    @classmethod
    def parse(cls, written: str) -> "DocumentVersion":
        """Of ``doc:<collection>/<id>@<version>``. Raises ``ValueError``."""
        match = _WRITTEN.fullmatch(written)
        if match is None:
            raise ValueError(f"{written!r} is not 'doc:<collection>/<id>@<version>'")
        return cls(match[1], match[2], int(match[3]))


LeastVersions = Mapping[str, int]
"""By document id, the oldest version that an answer may have been made from; a document without one may not be."""


def least_versions(engine: Engine, tenant: str, collection: str) -> LeastVersions:
    """What SQL says of a whole collection: a deleted document counts from the version after its deletion.

    Raises StorageUnavailable.
    """
    wanted = select(DocumentRow.id, DocumentRow.version, DocumentRow.deleted).where(
        DocumentRow.tenant == tenant, DocumentRow.collection == collection
    )
    with reading(engine) as session:
        return {id: version + deleted for id, version, deleted in session.execute(wanted)}


def outdated(documents: Iterable[str], collection: str, least: LeastVersions) -> tuple[str, ...]:
    """Of an answer's documents, those that were no longer current when ``least`` was read.

    A version beyond came afterwards, and is newer: it is fine. What cannot be read or is of another collection is not.
    """
    return tuple(written for written in documents if _is_outdated(written, collection, least))


def _is_outdated(written: str, collection: str, least: LeastVersions) -> bool:
    try:
        document = DocumentVersion.parse(written)
    except ValueError:
        return True
    return document.collection != collection or document.version < least.get(document.id, document.version + 1)
