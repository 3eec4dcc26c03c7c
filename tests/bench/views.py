"""The last hour of all series through each public view, beside the same in a database of rows.

Thirty days of BENCH_VIEWS_SERIES series, a sample a minute. A condition on time alone takes all
blocks apart (docs/explanation/blocks.md): what has a period by itself, or a name, does not.
Planning is measured by itself, of a statement that nobody prepared, beside a year of partitions.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from itertools import chain

import asyncpg

from ingest.config import StorageSettings
from ingest.logs import configure_logs
from ingest.migrate import migrate
from tests.bench.raw import generate
from tests.support.blocks import pack
from tests.support.databases import Database
from tests.support.postgres import start_cluster

DAYS = 30
SERIES = int(os.environ.get("BENCH_VIEWS_SERIES", "100"))
METRIC_SERIES = 20
REPETITIONS = 5
TARGETS = {"internal": SERIES, "cumsum": 5, "geo": 6}
GEO = ("manifest_geo_latitude", "manifest_geo_longitude", "manifest_geo_metadata")
RESOLVE = """
SELECT count(*) FROM internal.resolve_series(
    $1, array_fill(1, ARRAY[$2::int]), array_fill($3::text, ARRAY[$2::int]), $4,
    array_fill('common'::text, ARRAY[$2::int]), $5)
"""
YEAR = """
SELECT internal.make_partitions('internal', t, now() - interval '365 days', now())
FROM unnest(ARRAY['block', 'long_block']) AS t
"""
SINCE = "{column} > now() - interval '1 hour'"
PERIOD = "now() - interval '1 hour', 'infinity'"

BY_TIME_ALONE = (
    "internal.sample", "internal.series_sample", "internal.prometheus_remote_write",
    "internal.prometheus_remote_write_with_tags", "cumsum.prometheus_remote_write", "metric.m1",
)  # fmt: skip
"""Nothing tells blocks the period; of a metric's view, those of the metric."""
OTHERS = {
    "samples_between": f"internal.samples_between({PERIOD})",
    "series_samples_between": f"internal.series_samples_between({PERIOD})",
    "prometheus_remote_write_between": f"internal.prometheus_remote_write_between({PERIOD})",
    "metric_between": f"metric.m1({PERIOD})",
    "last_day": "internal.prometheus_remote_write_last_day WHERE " + SINCE.format(column="time"),
    "one_series": "internal.sample WHERE series_id = 7 AND " + SINCE.format(column="time"),
    "tags_of_one": "internal.prometheus_remote_write JOIN internal.prometheus_remote_write_tag"
    " USING (tag_id) WHERE name = 'm1' AND labels ->> 'pod' = '21' AND "
    + SINCE.format(column="time"),
    "newest": "internal.newest WHERE name = 'm1'",
    "latest_coords": "geo.latest_coords",
    "get_latest_geo_coordinates": "api.get_latest_geo_coordinates()",
    "all_latest": "api.get_all_latest_common_metrics()",
    "list_metrics": "api.list_metrics()",
    **{
        name.replace(".", "_"): f"{name} WHERE " + SINCE.format(column="bucket")
        for name in (
            "internal.rollup_1m", "internal.rollup_1h", "internal.rollup_1d",
            "internal.prometheus_common_1m", "internal.cagg_calculated_metric",
            "cumsum.all_metrics_minute",
        )
    },
}  # fmt: skip


def run() -> dict[str, float]:
    """Milliseconds in the database, of rows and packed, and their ratio."""
    configure_logs("warning", "text")
    cluster = start_cluster()
    try:
        return asyncio.run(_measure(cluster.url("postgres")))
    finally:
        cluster.stop()


async def _measure(url: str) -> dict[str, float]:
    rows, packed = (Database(url.replace("/postgres?", f"/{name}?"), "postgres")
                    for name in ("rows", "packed"))  # fmt: skip
    await _command(url, "CREATE DATABASE rows")
    await migrate(rows.url, rows.settings(storage=StorageSettings(pack=False)))
    await _fill(rows)
    await _command(url, "CREATE DATABASE packed TEMPLATE rows")
    await migrate(packed.url, packed.settings(storage=StorageSettings(pack=True)))
    connections = [await asyncpg.connect(each.url) for each in (rows, packed)]
    try:
        for target in TARGETS:
            await pack(connections[1], datetime.now(UTC) - timedelta(hours=1), target)
        await connections[1].execute("VACUUM ANALYZE")
        figures: dict[str, float] = {}
        questions = {
            f"{name.replace('.', '_')}_by_time": f"{name} WHERE {SINCE.format(column='time')}"
            for name in BY_TIME_ALONE
        }
        for name, what in (questions | OTHERS).items():
            both = [await _median_ms(each, f"SELECT count(v) FROM (SELECT * FROM {what}) AS v")
                    for each in connections]  # fmt: skip
            figures |= dict(zip((f"views_{name}_rows_ms", f"views_{name}_ms"), both, strict=True))
            figures[f"views_{name}_to_rows_ratio"] = both[1] / both[0]
        await connections[1].execute(YEAR)
        for name in ("samples_between", "one_series", "tags_of_one", "last_day"):
            figures[f"views_{name}_planning_year_ms"] = await _planning_ms(
                connections[1], f"SELECT * FROM {OTHERS[name]}"
            )
        return figures
    finally:
        for each in connections:
            await each.close()


async def _command(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _fill(database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    try:
        for target, series in TARGETS.items():
            names = {
                "internal": [f"m{number // METRIC_SERIES}" for number in range(series)],
                "cumsum": ["web_requests"] * series,
                "geo": list(chain.from_iterable(GEO for _ in range(series // 3))),
            }[target]
            labels = [
                json.dumps({"__name__": name, "pod": str(number), "instance": str(number // 3)})
                for number, name in enumerate(names)
            ]
            identities = [f"{target}{number}".ljust(16).encode() for number in range(series)]
            await connection.execute(RESOLVE, identities, series, target, names, labels)
            begins = datetime.now(UTC) - timedelta(days=DAYS)
            await generate(connection, target, begins, DAYS, 60)
        await connection.execute("SELECT internal.create_metric_view('m1')")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _median_ms(connection: asyncpg.Connection, query: str) -> float:
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        await connection.fetchval(query)
        times.append((time.perf_counter() - began) * 1000)
        if times[-1] > 5000:
            break
    return statistics.median(times)


async def _planning_ms(connection: asyncpg.Connection, query: str) -> float:
    plans = [
        json.loads(await connection.fetchval(f"EXPLAIN (SUMMARY, FORMAT JSON) {query}"))[0]
        for _ in range(REPETITIONS)
    ]
    return statistics.median([float(plan["Planning Time"]) for plan in plans])
