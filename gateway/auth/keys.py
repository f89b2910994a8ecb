"""API keys as they are made, listed and revoked. The key itself exists once: in what ``create_key`` returns."""

import hashlib
import secrets
from collections.abc import Collection

from sqlalchemy import Engine, select

from gateway.clock import Clock, new_id
from gateway.errors import InvalidRequest, NotFound
from gateway.storage.engine import reading, writing
from gateway.storage.models import ApiKeyRow

SCOPES = frozenset({"chat", "feedback", "documents:read", "documents:write", "prompts:read", "jobs", "admin"})
"""What a key may be allowed; ``admin`` includes all the others."""

PREFIX = "py_"
_RANDOM_BYTES = 32
_SHOWN = len(PREFIX) + 6
_LONGEST = 200


def create_key(engine: Engine, clock: Clock, tenant: str, name: str, scopes: Collection[str]) -> tuple[str, ApiKeyRow]:
    """The plain key, to be shown once and kept by nobody here, and its row.

    256 random bits need no slow hash: there is nothing to guess. Raises InvalidRequest, StorageUnavailable.
    """
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        wrong = f"unknown scopes: {', '.join(unknown)}" if unknown else "a key without scopes may do nothing"
        raise InvalidRequest(wrong, hint=f"Scopes are {', '.join(sorted(SCOPES))}.")
    for what, value in (("tenant", tenant), ("name", name)):
        if not value.strip() or len(value) > _LONGEST or not value.isprintable():
            raise InvalidRequest(f"a key's {what} has 1 to {_LONGEST} printable characters", hint=f"Choose a {what}.")
    plain = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    row = ApiKeyRow(
        id=new_id("key", clock),
        tenant=tenant,
        name=name,
        hash=hash_key(plain),
        prefix=plain[:_SHOWN],
        scopes=sorted(set(scopes)),
        created_at=clock.now(),
        revoked_at=None,
    )
    with writing(engine) as session:
        session.add(row)
    return plain, row


def list_keys(engine: Engine, tenant: str | None = None) -> list[ApiKeyRow]:
    """Oldest first, the revoked ones included. Raises StorageUnavailable."""
    query = select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
    if tenant is not None:
        query = query.where(ApiKeyRow.tenant == tenant)
    with reading(engine) as session:
        return list(session.scalars(query))


def revoke_key(engine: Engine, clock: Clock, key_id: str, tenant: str | None = None) -> ApiKeyRow:
    """From now on, and within ``key_cache_ttl`` seconds on every gateway. A second time changes nothing.

    Raises NotFound, also when the key is another tenant's, and StorageUnavailable.
    """
    with writing(engine) as session:
        row = session.get(ApiKeyRow, key_id)
        if row is None or (tenant is not None and row.tenant != tenant):
            raise NotFound("there is no such key", hint="'promptyard keys list' shows the ids.")
        if row.revoked_at is None:
            row.revoked_at = clock.now()
    return row


def hash_key(plain: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
