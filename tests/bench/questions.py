"""What a dashboard asks of a year, in the database: settled rollups, beside the same of raw rows.

A year of minutes of BENCH_QUESTION_METRICS gauges, of what token metrics are made of, and of a
cumulative one; a day of minutes of a metric of 1,000 series. On PostgreSQL, and on the TimescaleDB
of PROMGRES_TEST_TIMESCALEDB_URL if that is set. No daemon runs: samples go into the database.

To fill it takes nearly all of the time: some 20 s of a quiet machine for a year of one gauge and
its rollups. So of WRITTEN gauges samples are written for a year, and rolled up. The others have
samples of the last hour, and rollups that SQL copies from the first one, as they are stored
(packed, compressed): of these, no question asks for raw rows.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import psutil

from ingest.copy_samples import encode_samples
from ingest.logs import configure_logs
from ingest.migrate import migrate
from ingest.model import Rows
from tests.bench.raw import copy_payload
from tests.engines.sql_api import Api, Sample
from tests.support.databases import Database
from tests.support.native_timescaledb import NATIVE_URL, NativeServer
from tests.support.postgres import start_cluster
from tests.support.processes import cpu_seconds

DAYS = int(os.environ.get("BENCH_QUESTION_DAYS", "366"))
METRICS = int(os.environ.get("BENCH_QUESTION_METRICS", "3"))
WRITTEN = min(METRICS, 3)
REPETITIONS = 20
RAW_REPETITIONS = 3
WIDE_SERIES = 1000
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

AGG = "SELECT * FROM api.get_agg_metric($1, 'common', $2::text::interval, $3, $4)"
ANY = "SELECT * FROM api.query_metric($1, NULL, '{}', 'avg', $2::text::interval, $3, $4)"
RATE = "SELECT * FROM api.query_metric($1, NULL, '{pod}', 'rate', $2::text::interval, $3, $4)"
CUMSUM = "SELECT * FROM api.get_agg_cumsum_metric($1, 'cumsum', $2::text::interval, $3, $4)"
FDV = "SELECT * FROM api.get_agg_fdv($1, $2::text::interval, $3, $4)"
LATEST = "SELECT * FROM api.get_all_latest_common_metrics()"

RAW_MAX = """
SELECT date_bin($2::text::interval, x.time, '2000-01-03Z') AS bucket, max(x.value)
FROM internal.samples_between($3, $4) AS x JOIN internal.series AS s USING (series_id)
WHERE s.name = $1 GROUP BY 1
"""
RAW_SUM = """
SELECT date_bin($2::text::interval, x.time, '2000-01-03Z') AS bucket,
    sum(sum(x.value)) OVER (ORDER BY date_bin($2::text::interval, x.time, '2000-01-03Z'))
FROM cumsum.samples_between($3, $4) AS x JOIN internal.series AS s USING (series_id)
WHERE s.name = $1 GROUP BY 1
"""
RAW_FDV = """
SELECT bucket, max(value) FILTER (WHERE name LIKE 'manifest%')
    * max(value) FILTER (WHERE name LIKE 'talib%')
FROM (
    SELECT date_bin($2::text::interval, x.time, '2000-01-03Z') AS bucket, s.name, x.value
    FROM internal.samples_between($3, $4) AS x JOIN internal.series AS s USING (series_id)
    WHERE s.name IN ('manifest_tokenomics_total_supply', 'talib_mfx_power_conversion')
        AND s.schema IN ($1, 'common')
) AS v GROUP BY 1
"""
RAW_LATEST = """
SELECT DISTINCT ON (s.name) s.name, x.time, x.value
FROM internal.samples_between(now() - interval '1 hour', 'infinity') AS x
JOIN internal.series AS s USING (series_id) ORDER BY s.name, x.time DESC
"""

STORED = {
    "postgres": """
        SELECT c.relname::text AS name, 'internal.' || c.relname AS relation FROM pg_class AS c
        WHERE c.relnamespace = 'internal'::regnamespace
            AND c.relname IN ('stored_1m', 'packed_1m', 'stored_1h', 'stored_1d')
    """,
    "timescaledb": """
        SELECT view_name::text AS name, format('%I.%I', materialization_hypertable_schema,
            materialization_hypertable_name) AS relation
        FROM timescaledb_information.continuous_aggregates WHERE view_schema = 'internal'
    """,
}
COLUMNS = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
OF_THE_COPY = {
    True: {"metric_id": "m.metric_id", "each_last_series": "s.series_id"},
    False: {
        "metric_id": "m.metric_id", "name": "m.name", "last_series": "s.series_id",
        "last_key": "ARRAY[t.last_key[1], s.series_id, t.last_key[3]]",
    },
}  # fmt: skip
"""What differs from metric to metric, in packed minutes (whose array last_series is null where
there is one series) and elsewhere."""
COPY_ROLLUPS = """
INSERT INTO {relation} ({columns})
SELECT {values}
FROM internal.metric AS m
JOIN internal.series AS s ON s.name = m.name AND s.target = 'internal'
JOIN {relation} AS t ON t.{time} >= $2 AND t.{time} < $3
    AND t.{key} = (SELECT {key} FROM internal.metric WHERE name = 'gauge_0')
WHERE m.name = ANY ($1)
ON CONFLICT DO NOTHING
"""
COMPRESS = """
SELECT count(public.compress_chunk(c, if_not_compressed => true))
FROM public.show_chunks('internal.parts_1m', older_than => $1::timestamptz) AS c
"""


def run() -> dict[str, float]:
    """Medians in milliseconds, as function calls."""
    configure_logs("warning", "text")
    cluster = start_cluster()
    try:
        figures = asyncio.run(_measure(Database(cluster.url("postgres"), "postgres")))
    finally:
        cluster.stop()
    if url := os.environ.get(NATIVE_URL):
        with NativeServer(url) as server, server.lend(migrated=True, workers=False) as lent:
            figures |= asyncio.run(_measure(Database(lent, "timescaledb")))
    else:
        print(f"questions: not asked of TimescaleDB, {NATIVE_URL} is not set")
    return figures


async def _measure(database: Database) -> dict[str, float]:
    if database.engine == "postgres":
        await migrate(database.url, database.settings())
    connection = await asyncpg.connect(database.url)
    try:
        api = Api(database, connection)
        end = datetime.now(UTC).replace(second=0, microsecond=0)
        await fill(api, end - DAYS * DAY, end)
        await _settle(api)
        await _copy_rollups(api, [f"gauge_{n}" for n in range(WRITTEN, METRICS)], end)
        await connection.execute("VACUUM ANALYZE")
        figures = {}
        for name, query, raw, arguments in _questions(end):
            asked = f"{database.engine}_{name}"
            figures[f"{asked}_ms"], figures[f"{asked}_cpu_ms"] = await median_ms(
                connection, query, arguments, REPETITIONS
            )
            if raw:
                figures[f"{asked}_of_raw_rows_ms"], _ = await median_ms(
                    connection, raw, arguments, RAW_REPETITIONS
                )
        return figures
    finally:
        await connection.close()


def _questions(end: datetime) -> list[tuple[str, str, str | None, tuple[Any, ...]]]:
    """Name, how it is asked, how raw rows are asked the same, arguments."""
    day, month, year = end - DAY, end - 30 * DAY, end - (DAYS - 1) * DAY
    return [
        ("year_by_day", AGG, RAW_MAX, ("gauge_0", "1 day", year, end)),
        ("month_by_hour", AGG, RAW_MAX, ("gauge_0", "1 hour", month, end)),
        ("day_by_minute", AGG, RAW_MAX, ("gauge_0", "1 minute", day, end)),
        ("latest_of_all", LATEST, RAW_LATEST, ()),
        ("cumsum_year_by_day", CUMSUM, RAW_SUM, ("web_requests", "1 day", year, end)),
        ("fdv_year_by_day", FDV, RAW_FDV, ("mainnet", "1 day", year, end)),
        ("wide_day_by_minute", AGG, RAW_MAX, ("wide", "1 minute", day, end)),
        ("query_metric_year_by_day", ANY, None, ("gauge_0", "1 day", year, end)),
        ("query_metric_month_by_hour", ANY, None, ("gauge_0", "1 hour", month, end)),
        ("query_metric_day_by_minute", ANY, None, ("gauge_0", "1 minute", day, end)),
        ("query_metric_wide_day_by_minute", ANY, None, ("wide", "1 minute", day, end)),
        ("query_metric_wide_rate_by_pod_hour", RATE, None, ("wide", "1 minute", end - HOUR, end)),
    ]


async def fill(api: Api, start: datetime, end: datetime) -> None:
    """A sample a minute of each series, day by day, through staging."""
    names = [f"gauge_{number}" for number in range(METRICS)]
    others = [Sample(start, name) for name in names[WRITTEN:]]
    gauges = [Sample(start, name) for name in [*names[:WRITTEN], "talib_mfx_power_conversion"]]
    tokens = [
        Sample(start, name, schema="mainnet")
        for name in ("manifest_tokenomics_total_supply", "locked_tokens", "total_mfx_burned")
    ]
    ids = sorted((await api.resolve({each.identity: each for each in gauges + tokens})).values())
    counted = Sample(start, "web_requests", schema="cumsum", target="cumsum")
    sums = list((await api.resolve({counted.identity: counted})).values())
    copied = sorted((await api.resolve({each.identity: each for each in others})).values())
    wide = [Sample(start, "wide", labels={"pod": f"{n}"}) for n in range(WIDE_SERIES)]
    wides = sorted((await api.resolve({each.identity: each for each in wide})).values())
    if api.database.engine == "postgres":
        for target in ("internal", "cumsum"):
            ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
            await api.connection.execute(ensure, target, start, end)
    for day in range(DAYS):
        since = start + day * DAY
        await _store(api, "internal", ids, since, DAY)
        await _store(api, "cumsum", sums, since, DAY)
        if day % 30 == 29:
            await _settle(api)  # as the year goes by, so that marks do not pile up
    for hour in range(24):
        await _store(api, "internal", wides, end - DAY + hour * HOUR, HOUR)
    if copied:
        await _store(api, "internal", copied, end - HOUR, HOUR)


async def _store(api: Api, target: str, ids: list[int], since: datetime, length: timedelta) -> None:
    points = length // MINUTE
    times = int(since.timestamp() * 1000) + np.arange(points) * 60_000
    rows = Rows(
        np.repeat(np.array(ids, np.int64), points),
        np.tile(times, len(ids)),
        np.arange(len(ids) * points, dtype=np.float64) / 8,
    )
    await copy_payload(api.connection, encode_samples(rows), f"staging_{target}", "sample")


async def _settle(api: Api) -> None:
    """Store all rollups: days at a time, where a worker would do."""
    if api.database.engine == "timescaledb":
        await api.roll_up()
        return
    for target in ("internal", "cumsum"):
        while await api.connection.fetchval(f"SELECT {target}.rollup_work('1 day', 'infinity')"):
            pass


async def _copy_rollups(api: Api, names: list[str], end: datetime) -> None:
    """To these metrics from the first gauge, and into the form in which old ones are stored."""
    connection, is_ours = api.connection, api.database.engine == "postgres"
    if is_ours:
        for target in ("internal", "cumsum"):
            while await connection.fetchval(f"SELECT {target}.pack_minutes()"):
                pass
    for stored in await connection.fetch(STORED[api.database.engine]) if names else []:
        relation, is_packed = stored["relation"], stored["name"] == "packed_1m"
        columns = [row[0] for row in await connection.fetch(COLUMNS, relation)]
        statement = COPY_ROLLUPS.format(
            relation=relation, columns=", ".join(columns), key="metric_id" if is_ours else "name",
            time="span" if is_packed else "bucket",
            values=", ".join(OF_THE_COPY[is_packed].get(each, f"t.{each}") for each in columns),
        )  # fmt: skip
        for days in range(0, DAYS + 2, 10):
            since = end - (DAYS + 1 - days) * DAY
            await connection.execute(statement, names, since, since + 10 * DAY, timeout=3600)
            if not is_ours:
                await connection.fetchval(COMPRESS, min(since, end - 7 * DAY), timeout=3600)
    if not is_ours:
        await connection.fetchval(COMPRESS, end - 7 * DAY, timeout=3600)


async def median_ms(
    connection: asyncpg.Connection, query: str, arguments: tuple[Any, ...], repetitions: int
) -> tuple[float, float]:
    """Of the time that it takes, and the backend's CPU, which a busy machine changes less: the mean
    of all."""
    backend = psutil.Process(connection.get_server_pid())
    before = cpu_seconds(backend)
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        rows = await connection.fetch(query, *arguments)
        times.append((time.perf_counter() - began) * 1000)
        assert rows
    return statistics.median(times), (cpu_seconds(backend) - before) / repetitions * 1000
