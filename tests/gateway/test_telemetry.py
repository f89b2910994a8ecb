"""What is counted of the cache's layers: each look by layer and outcome, its time by layer, and nothing unbounded."""

from prometheus_client import CollectorRegistry

from gateway.errors import ProviderTimeout
from gateway.telemetry import Metrics
from gateway.trail import Trail
from gateway.types import Layer
from tests.gateway.ledger.ledger_values import answer, call


def looked(*looks: tuple[str, str, float | None]) -> Trail:
    trail = Trail(call=call(), begun=0.0)
    for layer, outcome, seconds in looks:
        trail.looked(layer, outcome, seconds)
    return trail


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"promptyard_cache_{name}", labels)


def test_each_layer_has_its_own_counter_and_time() -> None:
    metrics = Metrics()
    trail = looked((Layer.LOCAL, "miss", None), (Layer.EXACT, "hit", 0.0007))
    for _ in range(3):
        metrics.answered(answer(layer=Layer.EXACT), trail)
    metrics.failed(looked(("exact", "miss", 0.0001), ("embedding", "hit", 0.2)), ProviderTimeout("slow"))
    counted = metrics.registry
    assert value(counted, "lookups_total", layer="local", outcome="miss") == 3
    assert value(counted, "lookups_total", layer="exact", outcome="hit") == 3
    assert value(counted, "lookups_total", layer="exact", outcome="miss") == 1
    assert value(counted, "lookups_total", layer="embedding", outcome="hit") == 1
    assert value(counted, "lookup_seconds_count", layer="exact") == 4
    assert value(counted, "lookup_seconds_bucket", layer="exact", le="0.001") == 4
    assert value(counted, "lookup_seconds_count", layer="local") in (None, 0)


def test_outcomes_are_bounded() -> None:
    metrics = Metrics()
    for number in range(2_000):
        metrics.answered(answer(), looked(("semantic", f"outcome {number}", 0.001)))
    assert value(metrics.registry, "lookups_total", layer="semantic", outcome="other") == 1_900
    assert len(metrics.exposition().splitlines()) < 600
