"""The limit: binary COPY by one connection into a table of the same shape, without a trigger."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import asyncpg
import numpy as np

from ingest.copy_samples import encode_samples
from ingest.model import Rows

ROWS_PER_COPY = 50_000

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
