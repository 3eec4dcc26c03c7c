"""The metrics of both sides, and the text that `/metrics` answers."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter

REGISTRY = CollectorRegistry(auto_describe=True)
"""Our own registry: nothing gets into `/metrics` by being imported."""

# Memory, CPU, file descriptors; nothing where there is no /proc.
ProcessCollector(registry=REGISTRY)


def exposition() -> tuple[bytes, str]:
    """The body of `/metrics` and its Content-Type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
