"""The metrics of both sides, and the text that `/metrics` answers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

REGISTRY = CollectorRegistry(auto_describe=True)
"""Our own registry: nothing gets into `/metrics` by being imported."""


def exposition() -> tuple[bytes, str]:
    """The body of `/metrics` and its Content-Type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
