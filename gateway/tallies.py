"""Counters and histograms of the request path, for one thread, read by Prometheus' registry when it is scraped.

The client library's own take a lock for each of a dozen numbers a call, which is a tenth of a cached answer's time.
These are plain additions. Buckets are upper bounds, inclusive, and add up only when they are read:
https://prometheus.io/docs/concepts/metric_types/#histogram.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally:
    """One series of a counter."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.total += amount


class Spread:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tallies(Collector):
    """A counter: a series for each combination of label values that was asked for."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._series: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *values: str) -> Tally:
        series = self._series.get(values)
        return self._series.setdefault(values, Tally()) if series is None else series

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, tally in self._series.items():
            family.add_metric(values, tally.total)
        yield family


class Spreads(Collector):
    """A histogram: a series for each combination of label values that was asked for. ``buckets`` are its bounds."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._bounds = tuple(buckets)
        self._names = [str(floatToGoString(bound)) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]
        self._series: dict[tuple[str, ...], Spread] = {}
        registry.register(self)

    def labels(self, *values: str) -> Spread:
        series = self._series.get(values)
        return self._series.setdefault(values, Spread(self._bounds)) if series is None else series

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for values, spread in self._series.items():
            buckets = list(zip(self._names, map(float, accumulate(spread.counts)), strict=True))
            family.add_metric(values, buckets, spread.total)
        yield family
