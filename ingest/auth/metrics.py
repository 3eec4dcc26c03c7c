"""What is counted about keys."""

from prometheus_client import Counter, Gauge

from ingest.metrics import REGISTRY

REFUSED = Counter(
    "promgres_keys_refused",
    "Requests whose credentials were refused: missing, malformed, several, scheme, unknown (no such"
    " key, or not its secret), revoked, expired, scope, token, tenant.",
    ["reason"],
    registry=REGISTRY,
)
UNRECORDED = Counter(
    "promgres_refusals_unrecorded",
    "Refusals that are in no row of app.audit, because there were too many.",
    registry=REGISTRY,
)
READ_AT = Gauge(
    "promgres_key_directory_read_timestamp_seconds",
    "When the database last confirmed which keys there are.",
    registry=REGISTRY,
)
