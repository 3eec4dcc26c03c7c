"""The metrics of both sides, and the text that `/metrics` answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter

REGISTRY = CollectorRegistry(auto_describe=True)
"""Our own registry: nothing gets into `/metrics` by being imported."""

# Memory, CPU, file descriptors; nothing where there is no /proc.
ProcessCollector(registry=REGISTRY)


def exposition() -> tuple[bytes, str]:
    """The body of `/metrics` and its Content-Type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


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
