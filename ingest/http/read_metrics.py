"""What the read side counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ingest.metrics import REGISTRY

REQUESTS = Counter(
    "promgres_api_requests",
    "Requests of the read side by function (or page) and status; `unknown`: no function of ours.",
    ["function", "status"],
    registry=REGISTRY,
)
SECONDS = Histogram(
    "promgres_api_request_seconds",
    "From the head of a request to its answer, by function (or page).",
    ["function"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
    registry=REGISTRY,
)
ANSWERED_BYTES = Counter(
    "promgres_api_response_bytes", "Bytes of bodies, after compression.", registry=REGISTRY
)


class PoolCollector(Collector):
    """The read side's connections, looked at when `/metrics` is asked for.

    Args:
        connections: gives how many there are and how many are in use.
    """

    def __init__(self, connections: Callable[[], tuple[int, int]]) -> None:
        self._connections = connections

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One gauge with a series for each state."""
        size, used = self._connections()
        gauge = GaugeMetricFamily(
            "promgres_api_connections", "Database connections of the read side.", labels=["state"]
        )
        gauge.add_metric(["used"], used)
        gauge.add_metric(["idle"], size - used)
        yield gauge
