"""When the usage of a rate limit is worth telling people, and the error for those who are beyond it."""

from urllib.parse import quote

from gateway.clock import Clock
from gateway.errors import RateLimited
from gateway.limits.notices import NEAR, RATE_PERIOD, REACHED, Notice, Notices


class RateNotices:
    """Tells of rate limits by the usage of the current minute; at most once each ``RATE_PERIOD``."""

    def __init__(self, notices: Notices, clock: Clock, warn_at: float) -> None:
        self._notices = notices
        self._clock = clock
        self._warn_at = warn_at

    def used(self, kind: str, tenant: str, name: str, used: int, limit: int) -> None:
        """``used`` of ``limit`` in this minute of the clock."""
        if used >= self._warn_at * limit:
            self._tell(kind, tenant, name, NEAR, str(used), limit)

    def refused(self, kind: str, tenant: str, name: str, limit: int) -> None:
        self._tell(kind, tenant, name, REACHED, "all", limit)

    def _tell(self, kind: str, tenant: str, name: str, level: str, used: str, limit: int) -> None:
        unit = f"{kind.rpartition('_')[2]} a minute"
        period = str(int(self._clock.now() // RATE_PERIOD))
        self._notices.tell(Notice(kind, tenant, name, level, used, str(limit), unit, period))


def too_many(what: str, limit: int, wait: float) -> RateLimited:
    return RateLimited(f"more than {limit} {what} a minute", retry_after=wait)


def slot(*parts: str) -> str:
    """What Redis Cluster hashes of a key: all buckets of one scope lie together."""
    return "{" + "/".join(quote(part, safe="", errors="surrogatepass") for part in parts) + "}"
