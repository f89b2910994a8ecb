"""OpenTelemetry spans of sampled calls, made from their trails after the answer: a call that is not sampled costs a
comparison. Exported by OTLP over HTTP in the background, in bounded batches; what cannot be delivered is dropped.

Names follow the GenAI conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/). No prompt and no
answer is in a span unless ``trace_content`` asks for it; no key ever is.
"""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.clock import Clock
from gateway.errors import PromptyardError
from gateway.settings import Settings
from gateway.trail import Trail
from gateway.types import Answer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_QUEUE = 2_048
_BATCH = 256
_EXPORT_SECONDS = 5.0


class Tracing:
    """Spans of the calls of one process. ``provider`` None traces nothing."""

    def __init__(
        self,
        provider: "TracerProvider | None",
        *,
        ratio: float,
        clock: Clock,
        entropy: random.Random,
        content: bool = False,
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("promptyard.gateway") if provider else None
        self._ratio = ratio if provider else 0.0
        self._clock = clock
        self._random = entropy.random
        self._content = content

    def wants(self) -> bool:
        """Whether the next call is among the sampled ones."""
        return self._ratio > 0.0 and self._random() < self._ratio

    def answered(self, answer: Answer, trail: Trail) -> None:
        call, reply, usage = answer.call, answer.reply, answer.reply.usage
        attributes = _of_call(trail) | {
            "gen_ai.provider.name": reply.provider,
            "gen_ai.response.model": reply.model,
            "gen_ai.response.finish_reasons": (reply.finish_reason,),
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "promptyard.cache.layer": answer.layer.value,
            "promptyard.cache.reason": answer.cache_reason,
            "promptyard.attempts": len(reply.attempts),
            "promptyard.documents": reply.documents,
        }
        if answer.paid_usd is not None:
            attributes["promptyard.cost_usd"] = float(answer.paid_usd)
        if self._content:
            attributes["gen_ai.input.messages"] = msgspec.json.encode(call.rendered or call.messages).decode()
            attributes["gen_ai.output.messages"] = msgspec.json.encode([reply.message]).decode()
        self._emit(trail, attributes, answer.latency_ms, "")

    def failed(self, trail: Trail, error: PromptyardError, latency_ms: float) -> None:
        attributes = _of_call(trail) | {"error.type": error.code}
        if trail.asked is not None:
            attributes["gen_ai.provider.name"] = trail.asked.provider
        self._emit(trail, attributes, latency_ms, error.code)

    def close(self) -> None:
        """Deliver what is waiting, for a bounded time."""
        if self._provider is not None:
            self._provider.force_flush(int(_EXPORT_SECONDS * 1000))
            self._provider.shutdown()

    def _emit(self, trail: Trail, attributes: Mapping[str, Any], latency_ms: float, error: str) -> None:
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        # Stages were timed on the monotonic clock; both clocks are read now to place them in the day.
        epoch = self._clock.now() - self._clock.monotonic()

        def at(moment: float) -> int:
            return int((epoch + moment) * 1e9)

        call = trail.call
        name = f"chat {call.version.ref if call.version else call.model}" if call.kind == "chat" else call.kind
        root = self._tracer.start_span(
            name, kind=SpanKind.SERVER, start_time=at(trail.begun), attributes=dict(attributes)
        )
        context = set_span_in_context(root)
        for stage in trail.stages:
            span = self._tracer.start_span(stage.name, context=context, start_time=at(stage.begun))
            span.end(end_time=at(stage.begun + stage.seconds))
        if error:
            root.set_status(Status(StatusCode.ERROR, error))
        root.end(end_time=at(trail.begun + latency_ms / 1000))


def build_tracing(settings: Settings, clock: Clock, entropy: random.Random, instance: str) -> Tracing:
    """Nothing is imported and nothing is sent unless ``otlp_endpoint`` is set."""
    provider = _provider(settings, instance) if settings.otlp_endpoint and settings.trace_ratio > 0 else None
    return Tracing(
        provider, ratio=settings.trace_ratio, clock=clock, entropy=entropy, content=settings.trace_content == "on"
    )


def _provider(settings: Settings, instance: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    exporter = OTLPSpanExporter(
        endpoint=settings.otlp_endpoint,
        headers={name: value.get_secret_value() for name, value in settings.otlp_headers.items()},
        timeout=_EXPORT_SECONDS,
    )
    resource = Resource.create({"service.name": "promptyard-gateway", "service.instance.id": instance})
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=_QUEUE, max_export_batch_size=_BATCH, schedule_delay_millis=1_000)
    )
    return provider


def _of_call(trail: Trail) -> dict[str, Any]:
    call = trail.call
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat" if call.kind == "chat" else "embeddings",
        "gen_ai.request.model": call.model or (str(call.chain[0]) if call.chain else ""),
        "promptyard.call_id": call.id,
        "promptyard.tenant": call.tenant,
        "promptyard.origin": call.origin.value,
        "promptyard.streamed": call.stream,
    }
    if call.version is not None:
        attributes["promptyard.prompt"] = call.version.name
        attributes["promptyard.version"] = call.version.version
        attributes["promptyard.arm"] = call.arm
        attributes["promptyard.release"] = call.release
        attributes["promptyard.experiment"] = call.experiment
        if call.fell_back_from:
            attributes["promptyard.fell_back_from"] = call.fell_back_from
    return attributes
