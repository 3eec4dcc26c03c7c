"""How the writers fare."""

from prometheus_client import Counter, Gauge
from prometheus_client.metrics_core import CounterMetricFamily

from ingest.metrics import REGISTRY, Spread, Tally

BATCH_ROWS = Spread(
    "promgres_batch_rows",
    "Rows of one transaction.",
    (1, 10, 100, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000),
    ("target",),
)
BATCHES = Tally(
    CounterMetricFamily,
    "promgres_batches",
    "Transactions by the way they took: direct (all rows new), staging (dedupes), mixed (both), or"
    " memory (nothing but samples that are known to be stored).",
    ("target", "way"),
)
RETRIES = Counter(
    "promgres_batch_retries",
    "Transactions that were rolled back and tried again at once, by reason: deadlock (of two write"
    " sides that store the same samples), lock not available, serialization failure, or partition"
    " gone.",
    ["target", "reason"],
    registry=REGISTRY,
)
REMEMBERED = Counter(
    "promgres_samples_remembered",
    "Duplicates that were known to be stored, and so were not sent to the database.",
    ["target"],
    registry=REGISTRY,
)
COPY_SECONDS = Spread(
    "promgres_copy_seconds",
    "One attempt to write a batch: COPY, triggers, marks and commit.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    ("target",),
)
SERIES_RESOLVED = Counter(
    "promgres_series_resolved", "Series whose id the database was asked for.", registry=REGISTRY
)
SERIES_CACHED = Gauge(
    "promgres_series_cached", "Series whose id this process knows.", registry=REGISTRY
)
SERIES_CACHE_BYTES = Gauge(
    "promgres_series_cache_bytes", "Memory of the series cache, roughly.", registry=REGISTRY
)
STAGING_EMPTIED = Counter(
    "promgres_staging_emptied",
    "Attempts to empty a staging table.",
    ["target", "result"],
    registry=REGISTRY,
)
