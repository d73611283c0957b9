"""What the server counts, for Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

__all__ = ["METRICS_TYPE", "Metrics"]

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STAGES: Final = ("decode", "encode", "search", "rerank")
SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
TOGETHER: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server.

    Args:
        sizes: gives the number of codes by index and side.
    """

    def __init__(self, sizes: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(Sizes(sizes))
        self.requests = Counter(
            "modalhash_requests",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "modalhash_request_seconds",
            "Time from a request's head to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "modalhash_refused",
            "Requests refused, by the code of the error.",
            ["code"],
            registry=self.registry,
        )
        self.under_way = Gauge(
            "modalhash_requests_under_way",
            "Requests worked on or waiting.",
            registry=self.registry,
        )
        stages = Histogram(
            "modalhash_stage_seconds",
            "Time of a search's stages, waiting included.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = {stage: stages.labels(stage) for stage in STAGES}
        together = Histogram(
            "modalhash_batch_size",
            "Texts encoded, or searches made, at once.",
            ["stage"],
            buckets=TOGETHER,
            registry=self.registry,
        )
        self.together = {stage: together.labels(stage) for stage in ("encode", "search")}

    def text(self) -> bytes:
        """Write all metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class Sizes(Collector):
    """Numbers of codes, looked up when somebody asks.

    Args:
        sizes: gives them by index and side.
    """

    def __init__(self, sizes: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._sizes = sizes

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: the names of indexes aren't known beforehand."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Yield the number of codes of each side."""
        family = GaugeMetricFamily(
            "modalhash_index_codes", "Codes of an index.", labels=["index", "side"]
        )
        for (index, side), count in self._sizes().items():
            family.add_metric([index, side], count)
        yield family
