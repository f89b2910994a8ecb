"""Prometheus metrics of the gateway. Label values are bounded: what is beyond the bound is counted as ``other``."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gateway.errors import PromptyardError
from gateway.trail import Trail
from gateway.types import Answer, Call

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Bounded:
    """Lets at most ``limit`` different values through as labels."""

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit:
            return "other"
        self._seen.add(value)
        return value


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._prompt = Bounded()
        self._version = Bounded(300)
        self._model = Bounded()
        self._calls = Counter(
            "promptyard_calls_total",
            "Calls by prompt, version, cache layer and outcome code.",
            ["prompt", "version", "layer", "outcome"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "promptyard_call_seconds",
            "Time from admission to the whole answer.",
            ["prompt", "layer"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage = Histogram(
            "promptyard_stage_seconds",
            "Time per stage of the request path.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._cost = Counter(
            "promptyard_cost_usd_total", "Money spent, where the price is known.", ["prompt"], registry=self.registry
        )
        self._saved = Counter(
            "promptyard_saved_usd_total", "Money that cached answers saved.", ["prompt"], registry=self.registry
        )
        self._tokens = Counter(
            "promptyard_tokens_total", "Tokens by model and kind.", ["model", "kind"], registry=self.registry
        )
        self._attempts = Counter(
            "promptyard_provider_attempts_total",
            "Tries by provider, model and error code (empty when it answered).",
            ["provider", "model", "error"],
            registry=self.registry,
        )
        self.in_flight = Gauge("promptyard_calls_in_flight", "Calls being answered now.", registry=self.registry)
        self.degraded = Gauge(
            "promptyard_dependency_up", "1 while a dependency answers.", ["dependency"], registry=self.registry
        )
        self.routing_revision = Gauge(
            "promptyard_routing_revision", "Revision of the routing table in use.", registry=self.registry
        )
        self.ledger_rejected = Counter(
            "promptyard_ledger_rejected_total",
            "Records that the spool could not take: the ledger misses them.",
            registry=self.registry,
        )
        self.replayed = Counter(
            "promptyard_replays_total", "Answers given again for their Idempotency-Key.", registry=self.registry
        )
        self.refused = Counter(
            "promptyard_requests_refused_total",
            "Requests refused before routing, by error code.",
            ["code"],
            registry=self.registry,
        )

    def answered(self, answer: Answer, trail: Trail) -> None:
        self._stages(trail)
        call, reply = answer.call, answer.reply
        prompt, layer = self._labels(call)[0], answer.layer.value
        self._calls.labels(*self._labels(call), layer, "ok").inc()
        self._latency.labels(prompt, layer).observe(answer.latency_ms / 1000)
        if answer.paid_usd:
            self._cost.labels(prompt).inc(float(answer.paid_usd))
        if answer.saved_usd:
            self._saved.labels(prompt).inc(float(answer.saved_usd))
        if layer == "none":
            model = self._model(reply.model)
            self._tokens.labels(model, "input").inc(reply.usage.input_tokens)
            self._tokens.labels(model, "output").inc(reply.usage.output_tokens)
            for attempt in reply.attempts:
                self._attempts.labels(attempt.provider, self._model(attempt.model), attempt.error).inc()

    def failed(self, trail: Trail, error: PromptyardError) -> None:
        self._stages(trail)
        self._calls.labels(*self._labels(trail.call), "none", error.code).inc()

    def _stages(self, trail: Trail) -> None:
        for stage in trail.stages:
            self._stage.labels(stage.name).observe(stage.seconds)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _labels(self, call: Call) -> tuple[str, str]:
        if call.version is None:
            return ("raw" if call.kind == "chat" else call.kind), ""
        return self._prompt(call.version.name), self._version(call.version.version)
