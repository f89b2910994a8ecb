"""Prometheus metrics of the gateway. Label values are bounded: what is beyond the bound is counted as ``other``."""

from collections.abc import Callable

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from gateway.errors import PromptyardError
from gateway.tallies import Spread, Spreads, Tallies, Tally
from gateway.trail import Trail
from gateway.types import Answer, Call, Layer, Reply

_MOST_SERIES = 1_000
_LOOK_SECONDS = (0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
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


class _Series(Struct, frozen=True):
    """What one kind of answer counts into, looked up once: finding a series by its labels costs more than counting."""

    calls: Tally
    latency: Spread
    first_token: Spread
    cost: Tally
    saved: Tally
    input_tokens: Tally
    output_tokens: Tally


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._prompt = Bounded()
        self._version = Bounded(300)
        self._model = Bounded()
        self._outcome = Bounded()
        self._answers: dict[tuple[str, Layer, str, str], _Series] = {}
        self._stage_series: dict[str, Callable[[float], None]] = {}
        self._look_series: dict[tuple[str, str], tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._calls = Tallies(
            "promptyard_calls_total",
            "Calls by prompt, version, cache layer and outcome code.",
            ["prompt", "version", "layer", "outcome"],
            registry=self.registry,
        )
        self._latency = Spreads(
            "promptyard_call_seconds",
            "Time from admission to the whole answer.",
            ["prompt", "version", "layer", "provider"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._first_token = Spreads(
            "promptyard_first_token_seconds",
            "Time from admission to the first piece of a streamed answer.",
            ["prompt", "version", "layer", "provider"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage = Spreads(
            "promptyard_stage_seconds",
            "Time per stage of the request path.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._lookups = Tallies(
            "promptyard_cache_lookups_total",
            "Looks into a layer of the cache by what it said: hit, or why it did not answer.",
            ["layer", "outcome"],
            registry=self.registry,
        )
        self._lookup_time = Spreads(
            "promptyard_cache_lookup_seconds",
            "Time that a layer of the cache took to say so.",
            ["layer"],
            buckets=_LOOK_SECONDS,
            registry=self.registry,
        )
        self._cost = Tallies(
            "promptyard_cost_usd_total", "Money spent, where the price is known.", ["prompt"], registry=self.registry
        )
        self._saved = Tallies(
            "promptyard_saved_usd_total", "Money that cached answers saved.", ["prompt"], registry=self.registry
        )
        self._tokens = Tallies(
            "promptyard_tokens_total", "Tokens by model and kind.", ["model", "kind"], registry=self.registry
        )
        self._attempts = Tallies(
            "promptyard_provider_attempts_total",
            "Tries by provider, model and error code (empty when it answered).",
            ["provider", "model", "error"],
            registry=self.registry,
        )
        self.in_flight = Gauge("promptyard_calls_in_flight", "Calls being answered now.", registry=self.registry)
        self.local_bytes = Gauge(
            "promptyard_cache_local_bytes", "What the worker's own memory for answers holds.", registry=self.registry
        )
        self.local_entries = Gauge(
            "promptyard_cache_local_entries", "Answers in the worker's own memory.", registry=self.registry
        )
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
        self.mirrored = Counter(
            "promptyard_mirrored_calls_total",
            "Live calls that were drawn for a release's candidate, by what became of them there.",
            ["outcome"],
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

        self.fell_back = Counter(
            "promptyard_experiment_fallbacks_total",
            "Calls that the baseline answered since the arm of an experiment had failed, by prompt and that version.",
            ["prompt", "version"],
            registry=self.registry,
        )

    def answered(self, answer: Answer, trail: Trail) -> None:
        call, reply, layer = answer.call, answer.reply, answer.layer
        place = (call.version.ref if call.version is not None else call.kind, layer, reply.provider, reply.model)
        series = self._answers.get(place)
        if series is None:
            series = self._answer_series(call, layer, reply)
            if len(self._answers) < _MOST_SERIES:
                self._answers[place] = series
        series.calls.inc()
        series.latency.observe(answer.latency_ms / 1000)
        if answer.first_token_ms is not None:
            series.first_token.observe(answer.first_token_ms / 1000)
        self._observe_stages(trail)
        self._observe_looks(trail)
        if layer is Layer.NONE:
            usage = reply.usage
            series.input_tokens.inc(usage.input_tokens)
            series.output_tokens.inc(usage.output_tokens)
            if answer.cost.usd:
                series.cost.inc(float(answer.cost.usd))
            for attempt in reply.attempts:
                self._attempts.labels(attempt.provider, self._model(attempt.model), attempt.error).inc()
        elif answer.cost.usd:
            series.saved.inc(float(answer.cost.usd))
        self._observe_fall_back(trail)

    def failed(self, trail: Trail, error: PromptyardError) -> None:
        self._observe_fall_back(trail)
        self._observe_stages(trail)
        self._observe_looks(trail)
        self._calls.labels(*self._labels(trail.call), "none", error.code).inc()
        for attempt in getattr(error, "attempts", ()):
            self._attempts.labels(attempt.provider, self._model(attempt.model), attempt.error).inc()

    def _observe_fall_back(self, trail: Trail) -> None:
        call = trail.call
        if call.fell_back_from:
            self.fell_back.labels(call.prompt, call.fell_back_from).inc()
            for attempt in trail.notes["fell_back_from"]["attempts"]:
                self._attempts.labels(attempt["provider"], self._model(attempt["model"]), attempt["error"]).inc()

    def _observe_stages(self, trail: Trail) -> None:
        series = self._stage_series
        for stage in trail.stages:
            if (observe := series.get(stage.name)) is None:
                observe = series[stage.name] = self._stage.labels(stage.name).observe  # a handful, named in the code
            observe(stage.seconds)

    def _observe_looks(self, trail: Trail) -> None:
        for look in trail.looks:
            series = self._look_series.get((look.layer, look.outcome))
            if series is None:
                series = self._look_series_of(look.layer, look.outcome)
            series[0]()
            if look.seconds is not None:
                series[1](look.seconds)

    def _look_series_of(self, layer: str, outcome: str) -> tuple[Callable[[], None], Callable[[float], None]]:
        layer, outcome = str(layer), self._outcome(str(outcome))
        series = self._lookups.labels(layer, outcome).inc, self._lookup_time.labels(layer).observe
        if len(self._look_series) < _MOST_SERIES:
            self._look_series[layer, outcome] = series
        return series

    def _answer_series(self, call: Call, layer: Layer, reply: Reply) -> "_Series":
        prompt, version = self._labels(call)
        model = self._model(reply.model)
        return _Series(
            calls=self._calls.labels(prompt, version, layer.value, "ok"),
            latency=self._latency.labels(prompt, version, layer.value, reply.provider),
            first_token=self._first_token.labels(prompt, version, layer.value, reply.provider),
            cost=self._cost.labels(prompt),
            saved=self._saved.labels(prompt),
            input_tokens=self._tokens.labels(model, "input"),
            output_tokens=self._tokens.labels(model, "output"),
        )

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _labels(self, call: Call) -> tuple[str, str]:
        if call.version is None:
            return ("raw" if call.kind == "chat" else call.kind), ""
        return self._prompt(call.version.name), self._version(call.version.version)
