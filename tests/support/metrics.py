"""Our own /metrics, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import get

DECIDED = ("written", "duplicate", "rejected", "dropped", "unavailable")


def gauge(metric: Gauge | Counter) -> float:
    """The value of a metric (or of one of its children) of this very process."""
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                return sample.value
    raise AssertionError("it has no value yet")


class Metrics:
    """One scrape of a write side."""

    def __init__(self, address: str) -> None:
        status, text = get(f"http://{address}/metrics")
        assert status == 200, text
        self._values = dict(_samples(text))

    def value(self, name: str, **labels: str) -> float:
        """One sample; 0 if it is not there."""
        return self._values.get((name, frozenset(labels.items())), 0.0)

    def samples(self, result: str, tenant: str = "default") -> int:
        """`promgres_samples_total` of a result."""
        return int(self.value("promgres_samples_total", tenant=tenant, result=result))

    @property
    def in_flight(self) -> int:
        """Samples without a result yet."""
        return int(self.value("promgres_samples_in_flight", tenant="default"))

    @property
    def spooled(self) -> int:
        """Samples in the spool."""
        return int(self.value("promgres_samples_spooled", tenant="default"))

    @property
    def at_rest(self) -> bool:
        """Whether every sample is decided: none in flight, none in the spool."""
        requests = self.value("promgres_spool_requests")
        return requests == self.in_flight == self.spooled == 0

    def assert_balanced(self, tenant: str = "default") -> None:
        """All results, in flight and spooled add up to what was received."""
        parts = {result: self.samples(result, tenant) for result in DECIDED}
        parts["in flight"] = int(self.value("promgres_samples_in_flight", tenant=tenant))
        parts["spooled"] = int(self.value("promgres_samples_spooled", tenant=tenant))
        assert self.samples("received", tenant) == sum(parts.values()), parts


def _samples(text: str) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield (sample.name, frozenset(sample.labels.items())), sample.value
