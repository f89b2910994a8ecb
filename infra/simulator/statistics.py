"""Counts what the simulator was asked, so that tests can count the calls that reached a provider."""

from collections import Counter
from typing import Any

#: The status under which a connection closed without an answer is counted.
DROPPED = 0


class CallCounts:
    """Requests by provider, endpoint, model and status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str, int]] = Counter()

    def add(self, provider: str, endpoint: str, model: str, status: int) -> None:
        self._counts[(provider, endpoint, model, status)] += 1

    def clear(self) -> None:
        self._counts.clear()

    def report(self) -> dict[str, Any]:
        """``{"total": n, "requests": [{"provider", "endpoint", "model", "status", "count"}]}``; status 0: no answer."""
        rows = [
            {"provider": provider, "endpoint": endpoint, "model": model, "status": status, "count": count}
            for (provider, endpoint, model, status), count in sorted(self._counts.items())
        ]
        return {"total": sum(self._counts.values()), "requests": rows}
