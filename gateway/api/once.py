"""An Idempotency-Key on an endpoint that does not answer calls: what was answered is kept as bytes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from gateway.idempotency.claims import Replay
from gateway.idempotency.keys import HEADER, fingerprint

if TYPE_CHECKING:
    from gateway.compose import Gateway

REPLAY_HEADER = "x-promptyard-replay"


async def once(
    gateway: "Gateway",
    request: Request,
    tenant: str,
    body: Mapping[str, Any],
    new_id: str,
    work: Callable[[str], Awaitable[bytes]],
) -> tuple[bytes, bool]:
    """``work``'s outcome, and whether it is a replay. ``work`` is given the id to use: ``new_id``, or a dead call's.

    Without the header it simply works. Raises IdempotencyConflict, IdempotencyBusy, InvalidRequest,
    StorageUnavailable, and whatever ``work`` raises.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return await work(new_id), False
    claim = await gateway.idempotency.begin(tenant, key, fingerprint(request.url.path, body), new_id)
    if isinstance(claim, Replay):
        gateway.metrics.replayed.inc()
        return claim.outcome, True
    try:
        return await gateway.idempotency.finish(claim, await work(claim.call_id)), False
    finally:
        await gateway.idempotency.release(claim)
