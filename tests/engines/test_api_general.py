"""What there is, the newest of it, and any metric: the general functions, case by case.

`test_api_general_counted.py` asks `query_metric` what nobody thought of."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.engines.native import copy
from tests.engines.sql_api import Api, Sample
from tests.engines.test_api_access import as_role, as_tenant

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ASK = "query_metric($1, p_aggregate => $2, p_step => $3::text::interval, p_from => $4, p_to => $5"


async def asked(api: Api, call: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """Rows with labels as dictionaries."""
    rows = await api.rows(call, *arguments)
    return [tuple(json.loads(x) if str(x).startswith("{") else x for x in row) for row in rows]


async def test_what_there_is(api: Api) -> None:
    await api.store(
        Sample(MONDAY + 90 * MINUTE, "http_Seconds_count", labels={"job": "a", "pod": "1"}),
        Sample(MONDAY + 2 * DAY, "http_Seconds_count", labels={"job": "b"}),
        Sample(MONDAY, "web_requests", 1, target="cumsum", schema="cumsum"),
        Sample(MONDAY, "spot", 1, target="geo", schema="geo", labels={"job": "a"}),
        Sample(MONDAY, "spot", math.nan, schema="prod"),
    )
    said = (MONDAY, 1, "http_Seconds", "histogram", "seconds", "How long.")
    await copy(api, "metadata", [said])
    for _ in range(2):
        assert await api.rows("list_metrics()") == [
            ("http_seconds_count", "common", "internal", "histogram", "seconds", "How long.", 2,
             MONDAY + 90 * MINUTE, MONDAY + 2 * DAY, ["job", "pod"]),
            ("spot", "geo", "geo", None, None, None, 1, MONDAY, MONDAY, ["job"]),
            ("spot", "prod", "internal", None, None, None, 1, None, None, []),
            ("web_requests", "cumsum", "cumsum", None, None, None, 1, MONDAY, MONDAY, []),
        ]  # fmt: skip
        await api.roll_up()
    assert [row[0] for row in await api.rows("list_metrics('SPO%')")] == ["spot", "spot"]
    assert await api.rows("list_labels()") == [("__name__", 3, 5), ("job", 2, 3), ("pod", 1, 1)]
    assert await api.rows("list_labels('SPOT')") == [("__name__", 1, 2), ("job", 1, 1)]
    names = [("http_Seconds_count", 2), ("spot", 2), ("web_requests", 1)]
    assert await api.rows("list_label_values()") == names
    assert await api.rows("list_label_values(NULL, NULL, NULL)") == names
    assert await api.rows("list_label_values('http_seconds_count', 'job')") == [("a", 1), ("b", 1)]
    assert await api.rows("list_label_values(p_label => 'job', p_limit => 1)") == [("a", 2)]
    series = await asked(api, "list_series(p_match => $1)", '{"job": "a"}')
    assert sorted(row[1:] for row in series) == [
        ("common", "internal", {"__name__": "http_Seconds_count", "job": "a", "pod": "1"}),
        ("geo", "geo", {"__name__": "spot", "job": "a"}),
    ]
    assert len(await api.rows("list_series(p_limit => 2)")) == 2
    today = await api.connection.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date::text")
    assert await api.rows("cardinality(2)") == [
        ("all", "", 5),
        ("metric", "http_Seconds_count", 2),
        ("metric", "spot", 2),
        ("label", "job", 3),
        ("label", "pod", 1),
        ("values", "job", 2),
        ("values", "pod", 1),
        ("new on", today, 5),
    ]


async def test_the_newest_of_each_series(api: Api) -> None:
    now = await api.minute()
    await api.store(
        Sample(now, "m", 1, "1.50", labels={"job": "a"}),
        Sample(now - MINUTE, "m", 7, labels={"job": "a"}),
        Sample(now - 9 * DAY, "m", 2, labels={"job": "b"}),
        Sample(now, "m", math.nan, labels={"job": "b"}),
        Sample(now, "m", -math.inf, schema="geo", target="geo", labels={"job": "c"}),
        Sample(now, "other", 5),
    )
    name = {"__name__": "m"}
    expected = [
        (now, name | {"job": "a"}, "1.5"),
        (now - 9 * DAY, name | {"job": "b"}, "2"),
        (now, name | {"job": "c"}, "-Infinity"),
    ]
    assert await asked(api, "newest('M')") == expected
    assert await asked(api, "newest('m', $1)", '{"job": "b"}') == expected[1:2]
    assert len(await api.rows("newest()")) == 4
    rows = await api.connection.fetch("SELECT * FROM internal.newest WHERE name = 'm' ORDER BY 1")
    said = sorted((row["time"], json.loads(row["labels"]), str(row["value"])) for row in rows
                  if row["target"] == "internal")  # fmt: skip
    assert said == sorted((time, labels, value.replace("1.5", "1.50"))
                          for time, labels, value in expected[:2])  # fmt: skip


async def test_everything_has_a_default(api: Api) -> None:
    now = await api.minute()
    await api.store(*(Sample(now - n * MINUTE, "m", n) for n in range(1, 50)))
    rows = await api.rows("query_metric()")
    assert [row[2] for row in rows] == [str(n) for n in range(49, 0, -1)]
    assert {row[1] for row in rows} == {"{}"}
    nothing = ", ".join(["NULL"] * 8)
    assert len(await api.rows(f"query_metric('m', {nothing})")) == 49
    assert await asked(api, "top_series()") == [({"__name__": "m"}, "25")]
    assert len(await api.rows("query_metric('m', p_to => $1)", now - 20 * MINUTE)) == 29
    assert await api.rows("query_metric('m', p_from => $1)", now + HOUR) == []
    endless = "p_from => '-infinity', p_to => 'infinity'"
    rows = await api.rows(f"query_metric(p_aggregate => 'count', p_step => '1 d', {endless})")
    assert sum(int(row[2]) for row in rows) == 49


async def test_the_default_step(postgres_api: Api) -> None:
    for length, step in (
        (MINUTE, timedelta(seconds=1)),
        (HOUR, timedelta(seconds=18)),
        (DAY, 8 * MINUTE),
        (7 * DAY, 51 * MINUTE),
        (30 * DAY, 4 * HOUR),
        (365 * DAY, 2 * DAY),
    ):
        query = "SELECT internal.default_step($1, $2)"
        assert await postgres_api.connection.fetchval(query, MONDAY, MONDAY + length) == step


async def test_a_counter_that_is_reset(api: Api) -> None:
    values = [100, 110, 130, 5, 25, 25]
    await api.store(
        *(Sample(MONDAY + n * MINUTE, "c", value) for n, value in enumerate(values)),
        Sample(MONDAY + 8 * DAY, "c", 75),
    )
    period = (MONDAY, MONDAY + 9 * DAY)
    for start, gained in ((MONDAY, 55), (MONDAY + MINUTE, 55), (MONDAY + 2 * MINUTE, 45)):
        rows = await api.values(f"{ASK})", "c", "increase", "1 year", start, period[1])
        assert rows == [str(gained)], "what comes after eight days has nothing before it"
    rows = await api.rows(f"{ASK})", "c", "rate", "1 minute", MONDAY, MONDAY + 6 * MINUTE)
    assert [(row[0] - MONDAY) // MINUTE for row in rows] == [1, 2, 3, 4, 5]
    assert [Decimal(row[2]).quantize(Decimal("0.0001")) for row in rows] == [
        Decimal(n) for n in ("0.1667", "0.3333", "0.0833", "0.3333", "0.0000")
    ]
    edge = MONDAY + timedelta(seconds=90)
    half = await api.values(f"{ASK})", "c", "rate", "1 minute", MONDAY + MINUTE, edge)
    assert Decimal(half[0]) == Decimal(10) / 30 or half[0].startswith("0.33333333333333")


GAPS: dict[str, list[str | None]] = {
    "none": ["1", "4", "Infinity"],
    "null": [None, "1", None, None, "4", None, "Infinity", None],
    "previous": [None, "1", "1", "1", "4", "4", "Infinity", "Infinity"],
    "linear": [None, "1", "2", "3", "4", None, "Infinity", None],
}


async def test_gaps(api: Api) -> None:
    values = {1: 1, 4: 4, 6: math.inf}
    await api.store(*(Sample(MONDAY + n * MINUTE, "g", value) for n, value in values.items()))
    period = (MONDAY, MONDAY + 8 * MINUTE)
    for fill, expected in GAPS.items():
        call = f"{ASK}, p_fill => $6)"
        assert await api.values(call, "g", "max", "1 minute", *period, fill) == expected


async def test_days_of_a_zone_have_23_and_25_hours(api: Api) -> None:
    hours = [datetime(2025, 3, 29, tzinfo=UTC) + n * HOUR for n in range(96)]
    hours += [datetime(2025, 10, 25, tzinfo=UTC) + n * HOUR for n in range(96)]
    await api.store(*(Sample(time, "z", 1) for time in hours))
    call = f"{ASK}, p_timezone => $6)"
    for _ in range(2):
        for since, counts in (((3, 30), [23, 24]), ((10, 26), [25, 24])):
            start = datetime(2025, *since, tzinfo=UTC) - (1 if since[0] == 3 else 2) * HOUR
            asks = ("z", "count", "1 day", start, start + sum(counts) * HOUR, "Europe/Vienna")
            rows = await api.rows(call, *asks)
            assert [row[0] for row in rows] == [start, start + counts[0] * HOUR]
            assert [int(row[2]) for row in rows] == counts
        start = datetime(2025, 2, 28, 23, tzinfo=UTC)
        asks = ("z", "count", "1 month", start, start + 60 * DAY, "Europe/Vienna")
        rows = await api.rows(call, *asks)
        assert [(row[0], row[2]) for row in rows] == [
            (start, "70"),
            (datetime(2025, 3, 31, 22, tzinfo=UTC), "26"),
        ]
        await api.roll_up()


REFUSED = [
    ("p_aggregate => 'mean'", 'p_aggregate must be one of avg, sum, .*, p99, not "mean"'),
    ("p_fill => 'zero'", 'p_fill must be one of none, null, previous, linear, not "zero"'),
    ("p_step => '-1 s'", "p_step must be positive"),
    ("p_step => '1 month 1 d'", "p_step mixes months with smaller units"),
    ("p_timezone => 'Vienna'", 'time zone "Vienna" not recognized'),
    ("p_match => '[]'", "p_match must be a JSON object of labels and their values"),
    ("p_step => '1 us'", "more than 5,000,000 buckets are asked for"),
    ("p_match => '1'", "p_match must be a JSON object of labels and their values"),
]


async def test_what_means_nothing_is_refused(api: Api) -> None:
    for arguments, message in REFUSED:
        with pytest.raises(asyncpg.InvalidParameterValueError, match=message):
            await api.rows(f"query_metric('m', {arguments})")


async def test_the_top_of_a_metric(api: Api) -> None:
    await api.store(
        *(
            Sample(MONDAY + n * MINUTE, "t", value, labels={"job": job, "pod": f"{value}"})
            for job, value in (("a", 1), ("a", 8), ("b", 5), ("b", 3))
            for n in range(3)
        )
    )
    period = "p_from => $1, p_to => $2"
    rows = await asked(api, f"top_series('t', {period}, p_limit => 2)", MONDAY, MONDAY + HOUR)
    assert [(labels["pod"], value) for labels, value in rows] == [("8", "8"), ("5", "5")]
    call = f"top_series('t', NULL, '{{job}}', 'sum', {period})"
    rows = await asked(api, call, MONDAY, MONDAY + HOUR)
    assert rows == [({"job": "a"}, "27"), ({"job": "b"}, "24")]
    with pytest.raises(asyncpg.InvalidParameterValueError, match="p_aggregate must be one of"):
        await api.rows("top_series('t', p_aggregate => 'biggest')")


class TestMetricViews:
    async def test_a_column_a_label(self, api: Api) -> None:
        create = "SELECT internal.create_metric_view('Http_total')"
        await api.store(
            Sample(MONDAY, "Http_total", 1, "2.50", labels={"job": "a", "time": "day"}),
            Sample(MONDAY, "http_total", 9, labels={"other": "x"}),
            Sample(MONDAY + DAY, "Http_total", math.nan, labels={"job": "a"}),
        )
        assert await api.connection.fetchval(create) == 'metric."Http_total"'
        rows = await api.connection.fetch('SELECT * FROM metric."Http_total"')
        assert [dict(row) for row in rows] == [
            {"time": MONDAY, "value": Decimal("2.50"), "job": "a", "label_time": "day"}
        ]
        await api.store(
            Sample(MONDAY, "Http_total", 3, target="geo", schema="geo", labels={"code": "200"})
        )
        await api.connection.execute('CREATE VIEW mine AS SELECT * FROM metric."Http_total"')
        for _ in range(2):
            await api.connection.execute(create)
        query = 'SELECT * FROM metric."Http_total" WHERE value > $1 ORDER BY value'
        rows = await api.connection.fetch(query, Decimal(0))
        assert [tuple(row) for row in rows] == [
            (MONDAY, Decimal("2.50"), "a", "day", None),
            (MONDAY, Decimal(3), None, None, "200"),
        ]
        await api.connection.execute("DROP VIEW mine")
        await api.connection.execute("SELECT internal.drop_metric_view('Http_total')")
        with pytest.raises(asyncpg.UndefinedTableError):
            await api.connection.execute("SELECT internal.drop_metric_view('Http_total')")

    async def test_each_tenant_has_its_own(self, api: Api) -> None:
        other = await api.connection.fetchval(
            "INSERT INTO app.tenant (name) VALUES ('other') RETURNING tenant_id"
        )
        await api.store(
            Sample(MONDAY, "up", 1, labels={"a": "x"}),
            Sample(MONDAY, "up", 2, labels={"b": "x"}, tenant_id=other),
        )
        made = (
            "SELECT internal.create_metric_view('up'), internal.create_metric_view('up', 'other')"
        )
        assert tuple(await api.connection.fetchrow(made)) == ("metric.up", 'metric."up@other"')
        for tenant in ("", str(other)):
            async with as_tenant(api, tenant):
                rows = await api.connection.fetch("SELECT * FROM metric.up")
                assert [dict(row) for row in rows] == [{"time": MONDAY, "value": 1, "a": "x"}]
                rows = await api.connection.fetch('SELECT * FROM metric."up@other"')
                assert [dict(row) for row in rows] == [{"time": MONDAY, "value": 2, "b": "x"}]

    async def test_what_cannot_be_made(self, api: Api) -> None:
        await api.store(Sample(MONDAY, "up", 1))
        for arguments, message in (
            ("'Up'", 'tenant "default" has no metric "Up"'),
            ("'up', 'nobody'", 'there is no tenant "nobody"'),
            (f"'{'u' * 64}'", "names in PostgreSQL have 63 bytes at most"),
        ):
            with pytest.raises(asyncpg.PostgresError, match=message):
                await api.connection.execute(f"SELECT internal.create_metric_view({arguments})")

    async def test_the_web_makes_none(self, postgres_api: Api) -> None:
        await postgres_api.store(Sample(MONDAY, "up", 1))
        for role in ("web_anon", "writer", "sql_reader", "promgres_api"):
            for function in ("create_metric_view", "drop_metric_view"):
                async with as_role(postgres_api, role):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await postgres_api.connection.execute(f"SELECT internal.{function}('up')")
