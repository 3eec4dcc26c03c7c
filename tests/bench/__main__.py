"""`make bench`: every benchmark, as a table and as bench.json.

`python -m tests.bench decode ingest` runs only these; `python -m tests.bench walk` says how many
functions and files a request goes through, which is no figure of speed and not among them.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import churn, prometheus

BENCHMARKS = (
    "decode", "ingest", "duplicates", "prometheus", "backfill", "memory", "year", "late", "staging",
    "disk", "month", "minutes", "push", "keys", "readers", "calls", "export", "scripts",
    "questions", "promql", "hours", "baseline", "page", "views", "blocks", "churn",
)  # fmt: skip
TARGETS = {
    "decode_samples_per_second": ">= 500,000",
    "decode_v2_samples_per_second": ">= 500,000",
    "ingest_known_ratio": ">= 0.7",
    "ingest_v2_ratio": ">= 0.8",
    "lone_request_p99_ms": "<= lone_copy_p99_ms + 20",
    "daemon_bytes_per_series": "<= 356 (labels) + 150",
    "backfill_in_order_slowest_to_median_ratio": "<= 10",
    "backfill_shuffled_slowest_to_median_ratio": "<= 10",
    "pack_load_sender_longest_lock_wait_ms": "<= 200",
    "year_by_day_ms": "<= 20",
    "settled_read_beside_marks_ratio": "<= 2",
    "year_by_day_of_what_waits_ms": "<= 1000",
    "late_to_current_ingest_ratio": ">= 0.9",
    "worker_samples_per_second": ">= 330,000",
    "ingest_beside_heavy_readers_ratio": ">= 0.8",
    "rpc_to_bare_ratio": ">= 0.6",
    "rpc_2_workers_to_1_ratio": ">= 1.5",
    "export_year_of_minutes_csv_cpu_seconds": "< 3",
    "export_year_of_minutes_csv_memory_mib": "< 100",
    "timescaledb_bytes_per_sample": "<= 4",
    "minutes_of_10_series_packed_bytes_per_sample": "<= 2.9",
    "minutes_of_3_series_packed_bytes_per_sample": "<= 2.9",
    "minutes_day_by_period_pages": "<= 40",
    "churn_is_flat": "1",
    "churn_acknowledged_samples_missing": "0",
    "churn_samples_of_nobody": "0",
    **{f"churn_{name}_growth_ratio": f"<= {churn.MOST_GROWTH}" for name in churn.GROW},
    "push_events_per_second": ">= 16,667",
    "push_over_kill_events_per_second": ">= 16,667",
    "push_lost_over_kill": "0",
    "push_repeated_over_kill": "0",
    "push_call_us": "<= 5",
    "push_client_cpu_us_per_event": "<= 15",
    "scripts_known_ratio": ">= 0.95",
    **{
        f"promql_{name}{part}_to_prometheus_ratio": target
        for name in ("rate", "instant", "day")
        for part, target in (("", "<= 4"), ("_evaluation", "<= 1.5"))
    },
    "promql_native_ms": "<= 1,000",
    "postgres_packed_bytes_per_sample": "<= 3",
    "postgres_packed_recorded_mix_bytes_per_sample": "<= 3",
    "postgres_packed_scraped_bytes_per_sample": "<= 3",
    **{f"month_{mix}_postgres_cold_bytes_per_sample": "<= 3" for mix in ("disk", "recorded")},
    "blocks_day_of_one_series_ms": "<= 2",
    "blocks_hour_of_1000_series_ms": "<= 80",
    "blocks_newest_hour_of_one_series_ms": "<= 10",
    "blocks_newest_sample_ms": "<= 2",
    "blocks_into_numpy_samples_per_second": ">= 6,000,000",
    **{
        f"{figure}_to_baseline_ratio": "<= 1"
        for figure in (
            "idle_daemon_cpu_ms_per_second",
            "idle_postgres_cpu_ms_per_second",
            "idle_all_cpu_ms_per_second",
            "known_daemon_rss_mib",
            "lone_request_of_100_p99_ms",
        )
    },
    "page_first_paint_ms": "<= 300",
    "page_chart_of_1000_series_ms": "< 1,000",
}
TARGETS |= prometheus.TARGETS | {
    f"{engine}_{question}_ms": "<= 20"
    for engine in ("postgres", "timescaledb")
    for question in (
        "year_by_day", "month_by_hour", "day_by_minute", "latest_of_all",
        "cumsum_year_by_day", "fdv_year_by_day", "wide_day_by_minute",
    )
}  # fmt: skip


def main() -> None:
    """Run what was asked for, or all."""
    figures: dict[str, float] = {}
    console = Console()
    for name in sys.argv[1:] or BENCHMARKS:
        with console.status(f"measuring {name}"):
            figures |= importlib.import_module(f"tests.bench.{name}").run()
    table = Table("figure", "measured", "target")
    for name, value in figures.items():
        table.add_row(name, _shown(value), TARGETS.get(name, ""))
    console.print(table)
    Path("bench.json").write_text(json.dumps(figures, indent=2) + "\n")


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
