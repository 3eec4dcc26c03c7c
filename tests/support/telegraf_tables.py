"""A database in the layout of Telegraf's PostgreSQL output, and what its own data answer to the
questions of /rpc: computed there, with SQL of this file, from the wide tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

TABLES = Path(__file__).with_suffix(".sql")
ROWS = TABLES.with_name("telegraf_rows.sql")

JOINED = """
WITH joined AS (
    SELECT r.time, r.name, r.schema, r.value, t.instance, t.country_name, t.city,
        coalesce(t.supply, t.excluded_supply, t.amount)::numeric AS exact
    FROM internal.prometheus_remote_write AS r
    JOIN internal.prometheus_remote_write_tag AS t USING (tag_id)
), bucketed AS (
    SELECT date_bin($1::text::interval, time, '2000-01-03Z') AS bucket, name, schema,
        coalesce(max(exact), max(value)) AS value
    FROM joined WHERE time >= $2 AND time < $3 GROUP BY 1, 2, 3
), minutes AS (
    SELECT date_bin('1 minute', time, '2000-01-03Z') AS bucket, name, schema,
        coalesce(max(exact), (array_agg(value ORDER BY time DESC))[1]) AS value
    FROM joined GROUP BY 1, 2, 3
), tokens AS (
    SELECT bucket, schema,
        max(value) FILTER (WHERE name = 'manifest_tokenomics_total_supply') AS total,
        sum(CASE name WHEN 'manifest_tokenomics_total_supply' THEN value ELSE -value END)
            AS circulating
    FROM bucketed
    WHERE name IN ('manifest_tokenomics_total_supply', 'manifest_tokenomics_excluded_supply',
        'locked_tokens', 'locked_fees')
    GROUP BY 1, 2
), conversions AS (
    SELECT bucket, max(value) AS conversion FROM bucketed
    WHERE name = 'talib_mfx_power_conversion' GROUP BY 1
)
"""
OLD_ANSWERS = {
    "circulating": JOINED + "SELECT bucket, circulating FROM tokens WHERE schema = $4 ORDER BY 1",
    "fdv": JOINED + "SELECT bucket, total * coalesce(conversion, 0) FROM tokens"
    " LEFT JOIN conversions USING (bucket) WHERE schema = $4 AND total IS NOT NULL ORDER BY 1",
    "market_cap": JOINED + "SELECT bucket, circulating * coalesce(conversion, 0) FROM tokens"
    " LEFT JOIN conversions USING (bucket) WHERE schema = $4 ORDER BY 1",
    "metric": JOINED
    + "SELECT bucket, value FROM bucketed WHERE name = $4 AND schema = $5 ORDER BY 1 DESC",
    "burned": JOINED
    + "SELECT bucket, value FROM bucketed WHERE name = $4 AND schema = $5 ORDER BY 1",
    "cumsum": """
        SELECT date_bin($1::text::interval, time, '2000-01-03Z'),
            sum(sum(value)) OVER (ORDER BY date_bin($1::text::interval, time, '2000-01-03Z'))
                + (SELECT coalesce(sum(value), 0) FROM cumsum.prometheus_remote_write
                    WHERE name = $4 AND time < $2)
        FROM cumsum.prometheus_remote_write
        WHERE name = $4 AND time >= $2 AND time < $3 GROUP BY 1 ORDER BY 1
    """,
    "latest": JOINED
    + "SELECT DISTINCT ON (name) bucket, name, value FROM minutes, (SELECT $1, $2, $3) AS unused"
    " WHERE schema = $4 ORDER BY name, bucket DESC",
    "latest_sums": """
        SELECT date_bin('1 minute', max(time), '2000-01-03Z'), name, sum(value)
        FROM cumsum.prometheus_remote_write GROUP BY name ORDER BY name
    """,
    "places": """
        SELECT DISTINCT (SELECT value FROM internal.prometheus_remote_write
                JOIN internal.prometheus_remote_write_tag AS o USING (tag_id)
                WHERE name = 'manifest_geo_latitude' AND o.instance = t.instance LIMIT 1)::float8,
            (SELECT value FROM internal.prometheus_remote_write
                JOIN internal.prometheus_remote_write_tag AS o USING (tag_id)
                WHERE name = 'manifest_geo_longitude' AND o.instance = t.instance LIMIT 1)::float8,
            country_name, city
        FROM internal.prometheus_remote_write
        JOIN internal.prometheus_remote_write_tag AS t USING (tag_id)
        WHERE name = 'manifest_geo_metadata' ORDER BY 3
    """,
}
"""Questions by name; $1 to $3 are interval, from and to, then come schema, or name and schema."""

COUNTS = """
SELECT schema, name, count(*), sum(value) FROM {} GROUP BY 1, 2
"""


def last_minute() -> datetime:
    """The start of the last minute that has ended."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)


async def make_tables(connection: asyncpg.Connection) -> None:
    """Make the tables, empty."""
    await connection.execute(TABLES.read_text())


async def fill_tables(connection: asyncpg.Connection, minutes: int, until: datetime) -> None:
    """Fill them: 18 rows a minute, and 4 sums."""
    text = ROWS.read_text().replace("@minutes@", str(minutes))
    await connection.execute(text.replace("@until@", until.isoformat()))


def questions(until: datetime, minutes: int) -> Iterator[tuple[str, str, list[Any]]]:
    """Name and further arguments of each question, and the function of schema api that answers it,
    with its arguments as SQL."""
    period = [until - timedelta(minutes=minutes // 2), until]
    for step in ("1 minute", "1 hour", "1 day"):
        start = [step, *period]
        shown = ", ".join(f"'{each}'" for each in start)
        for schema in ("mainnet", "testnet"):
            for name, function in (
                ("circulating", "get_agg_circulating_supply"),
                ("fdv", "get_agg_fdv"),
                ("market_cap", "get_agg_market_cap"),
            ):
                yield name, f"{function}('{schema}', {shown})", [*start, schema]
            call = f"get_agg_burned_supply('{schema}', {shown})"
            yield "burned", call, [*start, "total_mfx_burned", schema]
        for metric, schema in (
            ("node_up", "common"),
            ("manifest_tokenomics_total_supply", "mainnet"),
            ("locked_fees", "mainnet"),
            ("total_mfx_burned", "testnet"),
        ):
            call = f"get_agg_metric('{metric}', '{schema}', {shown})"
            yield "metric", call, [*start, metric, schema]
        for metric in ("web_requests", "system_tcp_sent"):
            call = f"get_agg_cumsum_metric('{metric}', 'cumsum', {shown})"
            yield "cumsum", call, [*start, metric]
    for schema in ("mainnet", "testnet", "common"):
        yield "latest", f"get_all_latest_{schema}_metrics()", ["1 day", *period, schema]


def comparable(rows: list[asyncpg.Record]) -> list[tuple[Any, ...]]:
    """Rows with decimals as numbers, however they are written."""
    return [tuple(_number(each) for each in row) for row in rows]


def _number(each: Any) -> Any:
    if isinstance(each, str) and each.lstrip("-").replace(".", "", 1).isdigit():
        return Decimal(each).normalize()
    return each.normalize() if isinstance(each, Decimal) else each
