"""Which live calls a release's candidate is asked too."""

from collections.abc import Mapping

from gateway.prompts.router import Router
from gateway.prompts.splits import bucket
from gateway.types import Call, Mirror, Origin, RoutingTable


def drawn(mirror: Mirror, call_id: str) -> bool:
    """Whether the candidate is asked this call too: drawn by the call, so that nobody is always or never chosen."""
    return bucket(f"{mirror.salt}/mirror", mirror.version.ref, call_id) < mirror.share


class Mirrors:
    """The mirrors of the table that ``router`` serves by, whichever that is."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._table = RoutingTable()
        self._found: Mapping[tuple[str, str], Mirror] = {}

    def of(self, call: Call) -> Mirror | None:
        """The candidate that this routed call is to be sent to as well, now that it is answered; None for most calls.

        Calls without a user are no evidence, as everywhere; nor are those that asked for a version.
        """
        if self._router.table is not self._table:
            self._table = self._router.table
            self._found = {(one.tenant, one.prompt): one.mirror for one in self._table.routes if one.mirror}
        if not self._found or call.origin is not Origin.LIVE or not call.user or call.pinned:
            return None
        mirror = self._found.get((call.tenant, call.prompt))
        if mirror is None or call.version is None or call.version.version == mirror.version.version:
            return None
        return mirror if drawn(mirror, call.id) else None
