"""What is counted of connections."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from ingest.metrics import REGISTRY

CONNECTIONS = Gauge(
    "promgres_http_connections", "HTTP connections that are open.", registry=REGISTRY
)
ENDED = Counter(
    "promgres_http_connections_ended",
    "HTTP connections that were turned away or ended by us: `full` and `address` (too many, in all"
    " and of one address), `room` (it waited, and another needed its place), `head` (no complete"
    " request within its time), `unread` (nobody took the answer).",
    ["reason"],
    registry=REGISTRY,
)
FULL, ADDRESS, ROOM, HEAD, UNREAD = (
    ENDED.labels(reason) for reason in ("full", "address", "room", "head", "unread")
)
