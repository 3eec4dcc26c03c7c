"""The limit: binary COPY by one connection into a table of the same shape, without a trigger."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import numpy as np

from ingest.copy_samples import encode_samples
from ingest.model import Rows

ROWS_PER_COPY = 50_000

GENERATE = """
INSERT INTO {target}.hot (time, series_id, value)
SELECT t, s.series_id, CASE
    WHEN s.series_id % 5 < 2 THEN 0 ELSE extract(epoch FROM t)::bigint / $3 * s.series_id % 9973 END
FROM internal.series AS s
CROSS JOIN LATERAL generate_series(
    date_trunc('second', $1::timestamptz) + $2::int * interval '24 hours'
        + s.series_id * 7919 % ($3::int * 1000) * interval '1 millisecond',
    least(now(), $1::timestamptz + ($2::int + 1) * interval '24 hours' - interval '1 ms'),
    $3::int * interval '1 second') AS t
WHERE s.target = $4
ORDER BY s.series_id, t
ON CONFLICT DO NOTHING
"""

SHAPE = """
DROP TABLE IF EXISTS public.raw_sample;
CREATE TABLE public.raw_sample (
    time timestamptz NOT NULL, series_id bigint NOT NULL, value float8 NOT NULL, exact numeric,
    PRIMARY KEY (series_id, time)
) PARTITION BY RANGE (time);
CREATE INDEX ON public.raw_sample USING brin (time) WITH (autosummarize = on);
CREATE TABLE public.raw_sample_p1 PARTITION OF public.raw_sample
    FOR VALUES FROM (date_trunc('day', now()) - interval '1 day')
    TO (date_trunc('day', now()) + interval '2 days');
"""


async def create_table(connection: asyncpg.Connection) -> None:
    """An empty table of the shape of a sample table: day partition, primary key, BRIN."""
    await connection.execute(SHAPE)


def rows_of_rounds(series: int, first_ms: int, rounds: int) -> Rows:
    """Rounds of one sample a series, in the order in which senders bring them; 40 % zeros."""
    series_id = np.tile(np.arange(1, series + 1), rounds)
    timestamp_ms = np.repeat(np.arange(first_ms, first_ms + rounds), series)
    value = np.arange(len(series_id), dtype=np.float64) / 8
    value[series_id % 5 < 2] = 0
    return Rows(series_id.astype(np.int64), timestamp_ms.astype(np.int64), value)


async def copy_for(
    connection: asyncpg.Connection, series: int, seconds: float, start_ms: int
) -> float:
    """COPY batches for so long; rows a second. Encoding is done beforehand, for one batch ahead."""
    rounds = max(1, ROWS_PER_COPY // series)
    copied = 0
    busy_seconds = 0.0
    while busy_seconds < seconds:
        payload = encode_samples(rows_of_rounds(series, start_ms, rounds))
        start_ms += rounds
        started = time.perf_counter()
        await copy_payload(connection, payload)
        busy_seconds += time.perf_counter() - started
        copied += series * rounds
    return copied / busy_seconds


async def copy_once(connection: asyncpg.Connection, rows: Rows) -> float:
    """COPY these rows; seconds it took, commit included."""
    payload = encode_samples(rows)
    started = time.perf_counter()
    await copy_payload(connection, payload)
    return time.perf_counter() - started


async def copy_payload(
    connection: asyncpg.Connection,
    payload: bytes,
    sql_schema: str = "public",
    table: str = "raw_sample",
) -> None:
    """COPY a complete binary stream into a table of samples."""

    async def source() -> AsyncIterator[bytes]:
        yield payload

    await connection.copy_to_table(
        table,
        schema_name=sql_schema,
        columns=("time", "series_id", "value", "exact"),
        source=source(),
        format="binary",
    )


async def generate(
    connection: asyncpg.Connection, target: str, begins: datetime, days: int, step_seconds: int
) -> int:
    """Rows of all series of a target, up to now at most, made by the database; how many there are.

    40 % are zeros, others counters. Nothing is marked for rollups. A superuser's connection.
    """
    ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
    await connection.execute(ensure, target, begins, begins + timedelta(days=days))
    await connection.execute("SET session_replication_role = replica")  # no triggers
    rows = 0
    for day in range(days):
        status = await connection.execute(
            GENERATE.format(target=target), begins, day, step_seconds, target, timeout=600
        )
        rows += int(status.split()[-1])
    await connection.execute("RESET session_replication_role")
    return rows
