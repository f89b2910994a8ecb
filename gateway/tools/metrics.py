"""What Prometheus sees of tools; their names are those that are registered, never what a model made up."""

from prometheus_client import CollectorRegistry, Histogram


class ToolMetrics:
    """Histograms in the registry of the process, or in one that nobody reads."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._seconds = Histogram(
            "promptyard_tool_seconds",
            "Time that tools took, by outcome: ok, an error's code, or cancelled.",
            ["tool", "outcome"],
            buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 30),
            registry=registry or CollectorRegistry(),
        )

    def executed(self, tool: str, outcome: str, seconds: float) -> None:
        self._seconds.labels(tool, outcome).observe(seconds)
