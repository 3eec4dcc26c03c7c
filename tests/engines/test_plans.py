"""Which partitions or chunks a question opens: a plan that opens a year of them costs more than the
answer. What a transaction has opened, planning included, is what it holds locks of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.engines.sql_api import Api, Sample

DAYS = 40
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
OPENED = """
SELECT DISTINCT l.relation::regclass::text
FROM pg_locks AS l JOIN pg_inherits AS i ON i.inhrelid = l.relation
WHERE l.pid = pg_backend_pid() AND i.inhparent = ANY (ARRAY[
    to_regclass('internal.sample'), to_regclass('cumsum.sample'), to_regclass('internal.hot'),
    to_regclass('cumsum.hot'), to_regclass('internal.block'), to_regclass('cumsum.block')
])
"""
STORED = """
SELECT count(DISTINCT i.inhrelid) FROM pg_inherits AS i
WHERE i.inhparent = to_regclass('internal.sample') OR i.inhparent = to_regclass('internal.hot')
"""
SUPPLY = "manifest_tokenomics_total_supply"
CONVERSION = "talib_mfx_power_conversion"


@pytest.fixture
async def settled(api: Api) -> tuple[Api, datetime]:
    """Forty days, some samples each, all rolled up; and when they end, a while ago."""
    end = datetime.now(UTC).replace(second=0, microsecond=0) - 3 * HOUR
    times = [end - n * DAY - part * 7 * HOUR for n in range(DAYS) for part in range(3)]
    for name, schema, target in (
        ("plain", "common", "internal"),
        (SUPPLY, "mainnet", "internal"),
        (CONVERSION, "common", "internal"),
        ("web_requests", "cumsum", "cumsum"),
    ):
        await api.store(*(Sample(each, name, 2, None, schema, target) for each in times))
    await api.roll_up()
    return api, end


QUESTIONS = {
    "year by day": "get_agg_metric('plain', 'common', '1 day', $1, $2)",
    "month by hour": "get_agg_metric('plain', 'common', '1 hour', $1, $2)",
    "days by minute": "get_agg_metric('plain', 'common', '1 minute', $1, $2)",
    "cumsum by day": "get_agg_cumsum_metric('web_requests', 'cumsum', '1 day', $1, $2)",
    "fdv by day": "get_agg_fdv('mainnet', '1 day', $1, $2)",
    "any by day": "query_metric('plain', NULL, '{}', 'avg', '1 day', $1, $2)",
    "any in a zone": "query_metric('plain', NULL, '{}', 'sum', '1 day', $1, $2, 'none',"
    " 'Europe/Vienna')",
    "one series, which is all": "query_metric('plain', NULL, '{*}', 'max', '1 hour', $1, $2)",
    "increments by month": "query_metric('web_requests', NULL, '{}', 'rate', '1 month', $1, $2)",
}


async def opened(api: Api, call: str, *arguments: Any) -> set[str]:
    """Partitions or chunks of samples that a call opens, in a session that made it before."""
    await api.rows(call, *arguments)
    async with api.connection.transaction(isolation="repeatable_read", readonly=True):
        assert await api.rows(call, *arguments)
        return {row[0] for row in await api.connection.fetch(OPENED)}


async def test_settled_questions_open_only_the_edges(settled: tuple[Api, datetime]) -> None:
    api, end = settled
    assert await api.connection.fetchval(STORED) > DAYS / 2
    for odd in (timedelta(0), timedelta(minutes=17, seconds=23)):
        period = (end - (DAYS - 2) * DAY + odd, end + MINUTE + odd)
        for question, call in QUESTIONS.items():
            seen = await opened(api, call, *period)
            assert len(seen) <= 6, (question, odd, seen)


async def test_the_latest_of_all_opens_hardly_any(settled: tuple[Api, datetime]) -> None:
    api, _ = settled
    for call in ("get_all_latest_common_metrics()", "get_all_latest_cumsum_metrics()"):
        assert len(await opened(api, call)) <= 6, call


async def test_samples_are_read_of_their_period_alone(settled: tuple[Api, datetime]) -> None:
    api, end = settled
    period = (end - 9 * HOUR, end + MINUTE)
    for aggregate, most in (("p90", 3), ("avg", 3), ("count", 3)):
        call = f"query_metric('plain', '{{\"job\": \"\"}}', '{{x}}', '{aggregate}', '15 s', $1, $2)"
        assert len(await opened(api, call, *period)) <= most, aggregate


async def test_a_year_of_days_reads_few_pages(settled: tuple[Api, datetime]) -> None:
    """EXPLAIN counts those of all that a function runs."""
    api, end = settled
    period = f"'{(end - 38 * DAY).isoformat()}', '{end.isoformat()}'"
    for call in (
        f"get_agg_metric('plain', 'common', '1 day', {period})",
        f"query_metric('plain', NULL, '{{}}', 'avg', '1 day', {period})",
    ):
        await api.rows(call)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) SELECT * FROM api.{call}"
        lines = [row[0] for row in await api.connection.fetch(explain)]
        (pages, *_) = [line for line in lines if "Buffers: shared" in line]
        assert int(pages.split("hit=")[1].split()[0]) < 4000, lines
