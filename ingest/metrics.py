"""The metrics of both sides, and the text that `/metrics` answers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ingest.logs import UNWRITTEN
from ingest.model import TenantId

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter

REGISTRY = CollectorRegistry(auto_describe=True)
"""Our own registry: nothing gets into `/metrics` by being imported."""

# Memory, CPU, file descriptors; nothing where there is no /proc.
ProcessCollector(registry=REGISTRY)


class Tally(Collector):
    """A counter or a gauge that one event loop changes with every request: a dict of numbers by the
    values of its labels, where those of prometheus_client look for a child, check it and lock it.

    Attributes:
        values: what `/metrics` shows, once it is asked.
    """

    def __init__(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        documentation: str,
        labels: tuple[str, ...],
    ) -> None:
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0}
        self._family = family
        self._about = (name, documentation)
        self._labelnames = labels
        REGISTRY.register(self)

    def add(self, amount: float, *labels: str) -> None:
        """So many more, or less."""
        self.values[labels] = self.values.get(labels, 0) + amount

    def collect(self) -> Iterator[Family]:
        """One family."""
        family = self._family(*self._about, labels=self._labelnames)
        for labels, value in list(self.values.items()):
            family.add_metric(labels, value)
        yield family


class Spread(Collector):
    """A histogram of the same kind.

    Args:
        bounds: of its buckets, inclusive, ascending; a last one takes what is larger.
    """

    def __init__(
        self, name: str, documentation: str, bounds: Sequence[float], labels: tuple[str, ...] = ()
    ) -> None:
        self._about = (name, documentation)
        self._bounds = bounds
        self._labelnames = labels
        # Counts of each bucket by itself, then the sum of all values.
        self._values: dict[tuple[str, ...], list[float]] = {}
        if not labels:
            self._values[()] = [0.0] * (len(bounds) + 2)
        REGISTRY.register(self)

    def observe(self, value: float, *labels: str) -> None:
        """One more."""
        found = self._values.get(labels)
        if found is None:
            found = self._values[labels] = [0.0] * (len(self._bounds) + 2)
        found[bisect_left(self._bounds, value)] += 1
        found[-1] += value

    def collect(self) -> Iterator[Family]:
        """One family, each bucket with all that is less."""
        family = HistogramMetricFamily(*self._about, labels=self._labelnames)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, (*counts, total) in list(self._values.items()):
            buckets = list(zip(names, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, total)
        yield family


class _Logs(Collector):
    """What the log could not say; the log itself knows no metrics."""

    def collect(self) -> Iterator[Family]:
        """One counter."""
        family = CounterMetricFamily(
            "promgres_log_unwritten",
            "Lines of the log that nobody sees: they could not be written (`lost`), or were like"
            " many others within seconds (`repeated`).",
            labels=["reason"],
        )
        for reason in ("lost", "repeated"):
            family.add_metric([reason], UNWRITTEN[reason])
        yield family


REGISTRY.register(_Logs())


def exposition(
    sees: Callable[[str], bool] = lambda _: True, families: Iterable[Family] | None = None
) -> tuple[bytes, str]:
    """The body of `/metrics` and its Content-Type.

    Args:
        sees: whether series with this value of the label `tenant` are shown; all others are.
        families: of several processes; None: of this one.
    """
    shown = CollectorRegistry()
    shown.register(_Shown(sees, REGISTRY.collect() if families is None else families))
    return generate_latest(shown), CONTENT_TYPE_LATEST


class _Shown(Collector):
    """Families without series of tenants that are not to be seen."""

    def __init__(self, sees: Callable[[str], bool], families: Iterable[Family]) -> None:
        self._sees = sees
        self._families = families

    def describe(self) -> Iterable[Family]:
        """Nothing: or it would all be collected once more, for its names."""
        return ()

    def collect(self) -> Iterator[Family]:
        """Families; one that loses all its series keeps its description."""
        for family in self._families:
            shown = Family(family.name, family.documentation, family.type, family.unit)
            shown.samples = [one for one in family.samples if self._is_shown(one.labels)]
            yield shown

    def _is_shown(self, labels: Mapping[str, str]) -> bool:
        return "tenant" not in labels or self._sees(labels["tenant"])


class Metric(NamedTuple):
    """One metric as people look it up; `name` is how it appears in `/metrics`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def registered_metrics() -> Iterator[Metric]:
    """All metrics of the rooms that are imported, but those of the process itself."""
    # The registry tells its collectors to nobody, and without a sample it names no labels.
    yield from describe(list(REGISTRY._collector_to_names))


def describe(collectors: Iterable[Collector]) -> Iterator[Metric]:
    """What these collectors offer."""
    for collector in collectors:
        if isinstance(collector, ProcessCollector):
            continue
        for family in collector.collect():
            labels = getattr(collector, "_labelnames", None)
            if labels is None:
                labels = tuple(dict.fromkeys(name for one in family.samples for name in one.labels))
            suffix = "_total" if family.type == "counter" else ""
            yield Metric(family.name + suffix, family.type, labels, family.documentation)


MOST_TENANTS = 1_000
OTHERS = " (others)"
"""No tenant's name begins with a space: nobody is shown these as their own."""


class TenantNames:
    """Tenants as values of a label.

    A tenant keeps the name that it has at first sight, so that a gauge goes down where it went up,
    and no other one is called so. The tenants that come after so many share a label, so that
    `/metrics` does not grow without bound.

    Args:
        name_of: from a tenant's id to its name.
        most: how many tenants have a label of their own.
    """

    def __init__(self, name_of: Callable[[TenantId], str] = str, most: int = MOST_TENANTS) -> None:
        self._name_of = name_of
        self._most = most
        self._names: dict[int, str] = {}

    def __call__(self, tenant_id: TenantId) -> str:
        """The label's value."""
        name = self._names.get(tenant_id)
        if name is not None:
            return name
        name = self._name_of(tenant_id)
        if len(self._names) >= self._most or name in self._names.values():
            return OTHERS
        self._names[tenant_id] = name
        return name
