"""Against the client library's own counters and histograms: what is exposed is the same, but for its creation times."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.tallies import Spreads, Tallies

BUCKETS = (0.001, 0.01, 0.5, 1, 30)
VALUES = st.lists(
    st.tuples(
        st.sampled_from(("a", 'quoted "b"', "")),
        st.sampled_from((*BUCKETS, 0.0, 0.0011, 31.0)) | st.floats(0, 100, allow_subnormal=False),
    )
)


def _exposed(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(VALUES)
def test_what_prometheus_reads_is_what_its_own_library_would_say(values: list[tuple[str, float]]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("calls_total", "Calls.", ["who"], registry=theirs)
    histogram = Histogram("call_seconds", "Time.", ["who"], buckets=BUCKETS, registry=theirs)
    tallies = Tallies("calls_total", "Calls.", ["who"], ours)
    spreads = Spreads("call_seconds", "Time.", ["who"], BUCKETS, ours)
    for who, value in values:
        counter.labels(who).inc(value)
        tallies.labels(who).inc(value)
        histogram.labels(who).observe(value)
        spreads.labels(who).observe(value)
    assert _exposed(ours) == _exposed(theirs)
