"""The staging tables: what goes where, column by column."""

from __future__ import annotations

from typing import NamedTuple

SAMPLE_COLUMNS = ("time", "series_id", "value", "exact")


class StagingTable(NamedTuple):
    """A table whose trigger moves what is copied into it."""

    sql_schema: str
    table: str
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """Qualified."""
        return f"{self.sql_schema}.{self.table}"


STAGING = {
    "internal": StagingTable("staging_internal", "sample", SAMPLE_COLUMNS),
    "cumsum": StagingTable("staging_cumsum", "sample", SAMPLE_COLUMNS),
    "geo": StagingTable("staging_geo", "sample", SAMPLE_COLUMNS),
    "exemplar": StagingTable(
        "staging_internal", "exemplar", ("time", "series_id", "value", "labels")
    ),
    "histogram": StagingTable(
        "staging_internal",
        "histogram",
        (
            "time", "series_id", "schema", "is_float", "is_stale", "count", "sum",
            "zero_threshold", "zero_count", "positive_indexes", "positive_counts",
            "negative_indexes", "negative_counts", "custom_bounds", "reset_hint", "start_time",
            "exact_counts",
        ),
    ),
    "metadata": StagingTable(
        "staging_internal",
        "metadata",
        ("first_seen", "tenant_id", "name", "type", "unit", "help"),
    ),
    "measure": StagingTable(
        "staging_app",
        "measure",
        (
            "time", "tenant_id", "name", "value", "exact", "attributes", "item_id", "key_decides",
            "target", "schema",
        ),
    ),
    "event": StagingTable(
        "staging_app",
        "event",
        ("time", "tenant_id", "name", "attributes", "item_id", "key_decides"),
    ),
    "start": StagingTable("staging_internal", "series_start", ("start_time", "series_id")),
}  # fmt: skip
"""By store (`ingest.model.STORES`)."""
