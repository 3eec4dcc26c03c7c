"""What the write side counts about requests."""

from prometheus_client import Counter, Histogram

from ingest.metrics import REGISTRY

REQUESTS = Counter(
    "promgres_write_requests", "Write requests by status.", ["status"], registry=REGISTRY
)
SECONDS = Histogram(
    "promgres_write_request_seconds",
    "From the last byte of a write request to its answer.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
    registry=REGISTRY,
)
BODY_BYTES = Counter("promgres_write_body_bytes", "Compressed bytes received.", registry=REGISTRY)
DECODE_SECONDS = Counter(
    "promgres_decode_seconds",
    "Time spent on decompress, decode, identify and route.",
    registry=REGISTRY,
)
PUSH_REQUESTS = Counter(
    "promgres_push_requests",
    "Requests with measures and events by status.",
    ["status"],
    registry=REGISTRY,
)
PUSHED = Counter(
    "promgres_pushed",
    "Measures and events: received (what became of them is counted with samples), or refused with"
    " their request.",
    ["tenant", "kind", "result"],
    registry=REGISTRY,
)
