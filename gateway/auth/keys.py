"""API keys as they are made, listed and revoked. The key itself exists once: in what ``create_key`` returns."""

import hashlib
import math
import secrets
from collections.abc import Collection
from typing import Any

from msgspec import structs
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from gateway.clock import Clock, new_id
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.names import check_name
from gateway.storage.engine import reading, writing
from gateway.storage.models import ApiKeyRow
from gateway.types import NO_LIMITS, KeyLimits

SCOPES = frozenset(
    {
        "chat",
        "tools",
        "feedback",
        "documents:read",
        "documents:write",
        "prompts:read",
        "calls:read",
        "jobs",
        "admin",
    }
)
"""What a key may be allowed; ``admin`` includes all the others."""

PREFIX = "py_"
_RANDOM_BYTES = 32
_SHOWN = len(PREFIX) + 6
_LONGEST = 200
_SHOWN_IDS = 5
_MOST = 1_000_000_000


def create_key(
    engine: Engine, clock: Clock, tenant: str, name: str, scopes: Collection[str], limits: KeyLimits = NO_LIMITS
) -> tuple[str, ApiKeyRow]:
    """The plain key, to be shown once and kept by nobody here, and its row.

    256 random bits need no slow hash: there is nothing to guess. Raises InvalidRequest, StorageUnavailable.
    """
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        wrong = f"unknown scopes: {', '.join(unknown)}" if unknown else "a key without scopes may do nothing"
        raise InvalidRequest(wrong, hint=f"Scopes are {', '.join(sorted(SCOPES))}.")
    check_name("tenant", tenant)
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise InvalidRequest(f"a key's name has 1 to {_LONGEST} printable characters", hint="Choose a name.")
    kept_limits = _checked(limits)
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
        limits=kept_limits,
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


def revoke_key(engine: Engine, clock: Clock, key: str, tenant: str | None = None) -> ApiKeyRow:
    """From now on, and within ``key_cache_ttl`` seconds on every gateway. A second time changes nothing.

    ``key`` is an id or, where a tenant is given, the name of just one of its active keys. Raises NotFound,
    also when the key is another tenant's, Conflict when several keys have the name, and StorageUnavailable.
    """
    with writing(engine) as session:
        row = session.get(ApiKeyRow, key)
        if row is None or (tenant is not None and row.tenant != tenant):
            row = _named(session, key, tenant)
        if row.revoked_at is None:
            row.revoked_at = clock.now()
    return row


def _named(session: Session, name: str, tenant: str | None) -> ApiKeyRow:
    live = select(ApiKeyRow).where(ApiKeyRow.name == name, ApiKeyRow.tenant == tenant, ApiKeyRow.revoked_at.is_(None))
    found = session.scalars(live.order_by(ApiKeyRow.id).limit(_SHOWN_IDS + 1)).all()
    if not found:
        raise NotFound("there is no such key", hint="'promptyard keys list' shows ids and names.")
    if len(found) > 1:
        ids = ", ".join(row.id for row in found[:_SHOWN_IDS])
        raise Conflict(f"several keys have this name: {ids}", hint="Say which one by its id.")
    return found[0]


def _checked(limits: KeyLimits) -> dict[str, Any]:
    """What is limited, as the row keeps it. Raises InvalidRequest."""
    given = {name: value for name, value in structs.asdict(limits).items() if value is not None}
    for name, value in given.items():
        least = 0 if name == "daily_budget_usd" else 1
        if not (least <= value <= _MOST and math.isfinite(value)):
            raise InvalidRequest(
                f"{name} is a number from {least} to {_MOST:,}", hint="Leave out what is not to be limited."
            )
    return given


def hash_key(plain: str) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
