"""What Prometheus sees of limits; labels are kinds of limits, never tenants, keys or prompts."""

from prometheus_client import CollectorRegistry, Counter


class LimitMetrics:
    """Counters in the registry of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reached = Counter(
            "promptyard_limit_reached_total",
            "Limits and budgets that were near their end (near) or refused a call (reached), once an occasion.",
            ["kind", "level"],
            registry=registry,
        )
        self._refused = Counter(
            "promptyard_limit_refusals_total",
            "Times that a limit or budget had no room; background calls then wait.",
            ["kind"],
            registry=registry,
        )
        self._unguarded = Counter(
            "promptyard_limit_unguarded_total",
            "Times that a limit or budget was decided without the state Redis.",
            ["kind"],
            registry=registry,
        )
        self._unpriced = Counter(
            "promptyard_budget_unpriced_total",
            "Reservations for a model of unknown price, by an assumed one.",
            registry=registry,
        )

    def reached(self, kind: str, level: str) -> None:
        self._reached.labels(kind, level).inc()

    def refused(self, kind: str) -> None:
        self._refused.labels(kind).inc()

    def unguarded(self, kind: str) -> None:
        self._unguarded.labels(kind).inc()

    def unpriced(self) -> None:
        self._unpriced.inc()
