"""Spans of sampled calls: stages under a root, in their places, without a word of the user's."""

import random
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.clock import ManualClock
from gateway.errors import ProviderTimeout
from gateway.settings import Settings
from gateway.tracing import Tracing, build_tracing
from gateway.trail import Trail
from gateway.types import ModelRef
from tests.gateway.ledger.ledger_values import answer, call

SECRET = "nobody else's business"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def tracing(spans: InMemorySpanExporter, **changes: Any) -> Tracing:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return Tracing(provider, **({"ratio": 1.0, "clock": ManualClock(), "entropy": random.Random(1)} | changes))


def trail() -> Trail:
    now = ManualClock().monotonic()
    asked = call(messages=({"role": "user", "content": SECRET},), variables={"question": SECRET}, user="ann")
    made = Trail(call=asked, begun=now, asked=ModelRef("openai", "small"))
    made.passed("cache", now, now + 0.001)
    made.passed("provider", now + 0.002, now + 0.2)
    return made


def test_stages_are_children_of_the_call_at_their_times(spans: InMemorySpanExporter) -> None:
    made = trail()
    tracing(spans).answered(answer(made.call, SECRET), made)
    *stages, root = spans.get_finished_spans()
    assert [span.name for span in stages] == ["cache", "provider"]
    assert all(span.parent and span.parent.span_id == root.context.span_id for span in stages)
    assert [(span.end_time - span.start_time) // 1_000_000 for span in stages] == pytest.approx([1, 198], abs=1)  # type: ignore[operator]
    assert root.start_time == pytest.approx(ManualClock().now() * 1e9, abs=1e3)
    assert root.attributes is not None
    assert root.attributes["gen_ai.usage.input_tokens"] == 120
    assert root.attributes["promptyard.cache.layer"] == "none"


@pytest.mark.parametrize("content", [False, True])
def test_content_is_in_spans_only_when_asked_for(spans: InMemorySpanExporter, content: bool) -> None:
    made = trail()
    tracing(spans, content=content).answered(answer(made.call, SECRET), made)
    assert (SECRET in "".join(span.to_json() for span in spans.get_finished_spans())) is content


def test_a_failure_is_an_error_with_its_code(spans: InMemorySpanExporter) -> None:
    tracing(spans).failed(trail(), ProviderTimeout(SECRET), 30.0)
    root = spans.get_finished_spans()[-1]
    assert not root.status.is_ok
    assert root.attributes is not None
    assert root.attributes["error.type"] == "provider_timeout"
    assert SECRET not in root.to_json()


def test_the_share_that_is_traced_is_the_ratio(spans: InMemorySpanExporter) -> None:
    traced = tracing(spans, ratio=0.01)
    assert 60 < sum(traced.wants() for _ in range(10_000)) < 140


def test_without_an_endpoint_nothing_is_traced() -> None:
    assert not any(
        build_tracing(Settings(trace_ratio=1.0), ManualClock(), random.Random(1), "gateway").wants() for _ in range(10)
    )
