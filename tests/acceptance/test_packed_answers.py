"""What is public says the same before, while and after samples are packed, in a database that was
upgraded from before there were blocks.

Readers are found in the catalogue, so that a new one is asked too, or stops this test: every
function of schema `api`, every view, every function of a period; and what HTTP alone has.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from ingest.config import RetentionSettings, StorageSettings
from ingest.migrate import migrate
from ingest.stores import TARGETS
from ingest.wire.encoding.snappy import compress_snappy
from ingest.wire.pb import remote_read_pb2 as pb
from tests.support.blocks import pack, steps_of, take_step
from tests.support.databases import Database, connect
from tests.support.readapi import Client, running_api

pytestmark = pytest.mark.timeout(600)

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
DAYS = [
    (NOW - timedelta(days=8), timedelta(days=3)),
    (NOW - timedelta(hours=3), timedelta(hours=2)),
]
"""Days that are long over, and two hours that are not, some way off from what `now() - '1 day'` and
`now() - '1 hour'` are while this runs."""

FILL = """
    WITH moment AS (
        SELECT s.*, $1::timestamptz + CASE s.series_id % 5
            WHEN 0 THEN n * interval '9 minutes'
            WHEN 1 THEN n * interval '9 minutes' + (n * n % 7) * interval '1 millisecond'
            WHEN 2 THEN n * interval '15 minutes'
            WHEN 3 THEN n * interval '411 seconds' + (n % 3) * interval '1 microsecond'
            ELSE n * interval '2 hours' END AS time, n
        FROM internal.series AS s, generate_series(1, 500) AS n
        WHERE s.target = '{target}'
    )
    INSERT INTO staging_{target}.sample (time, series_id, value, exact)
    SELECT time, series_id,
        CASE WHEN n % 31 = 0 THEN 'NaN' WHEN n % 53 = 0 THEN 'Infinity'
            WHEN n % 47 = 0 THEN '-0' ELSE (n * 7919 % 100) / 8.0 END,
        CASE WHEN n % 62 = 0 THEN 'NaN'
            WHEN name ~ 'supply|locked|burned' AND n % 31 <> 0 THEN n + 1e20 + 0.5 END
    FROM moment WHERE time < $1::timestamptz + $2::interval
"""
OWN_VIEW = """
    CREATE VIEW public.mine AS
    SELECT date_bin('1 hour', time, '2000-01-03') AS hour, series_id, count(*),
        count(exact) AS exacts, bit_xor(hashtext(float8send(value)::text)) AS bits,
        max(value) FILTER (WHERE value <> 'NaN')
    FROM internal.sample GROUP BY 1, 2
"""

PERIODS = [
    (DAYS[0][0] + timedelta(hours=5, minutes=7, seconds=3), DAYS[0][0] + timedelta(days=2)),
    (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
]
METRICS = [
    ("up", "common"), ("web_requests", "cumsum"), ("rpc_seconds", "common"),
    ("manifest_tokenomics_total_supply", "mainnet"),
]  # fmt: skip
ARGUMENTS: Mapping[str, list[Any]] = {
    "p_interval": [timedelta(minutes=97, seconds=1), timedelta(hours=6)],
    "p_step": [timedelta(minutes=97)],
    "p_quantile": [0.9],
    "p_aggregate": ["last", "rate"],
    "p_match": [None],
    "p_by": [["*"]],
    "p_fill": ["none"],
    "p_timezone": ["UTC"],
    "p_like": [None],
    "p_label": ["__name__", "instance"],
    "p_limit": [1000],
    "p_name": [None],
    "p_attributes": [None],
    "p_before_time": [None],
    "p_before_id": [None],
}
"""Values of each parameter but for metrics and periods; one that is not here is new, and belongs
here."""
OF_METRIC = {"p_metric", "p_metric_name", "p_schema"}
STATE = {"internal.missing_object"}
"""Views that are not about samples, and slow."""
BY_PERIOD = ("samples_between", "rollup_raw_between")
"""Functions of a period that people with SQL call; others are parts of them."""


def url(path: str, **arguments: Any) -> str:
    return f"{path}?{urlencode(arguments)}"


PATHS = [
    *(
        url("/export", metric=metric, **{"from": start.isoformat(), "to": end.isoformat()})
        for (metric, _), (start, end) in itertools.product(METRICS[:2], PERIODS)
    ),
    *(
        url(
            "/api/v1/query_range",
            query=query, start=start.timestamp(), end=end.timestamp(), step=971,
        )
        for query in ("up", "rate(web_requests[1h])", "sum by (instance) (last_over_time(up[20m]))")
        for start, end in PERIODS[:1]
    ),
    *(
        url(
            "/api/v1/query_range",
            query=query, start=PERIODS[1][0].timestamp(), end=PERIODS[1][1].timestamp(), step=1801,
        )
        for query in ("rpc_seconds", "histogram_quantile(0.9, rate(rpc_seconds[2h]))")
    ),
    *(
        url(f"/api/v1/{what}", start=PERIODS[0][0].timestamp(), end=NOW.timestamp(),
            **{"match[]": '{__name__=~".+"}'})
        for what in ("series", "labels", "label/instance/values")
    ),
    url("/api/v1/query_exemplars", query="calls_total", start=1767225600, end=1767312000),
    url("/api/v1/query", query="up[9d]", time=NOW.timestamp()),
]  # fmt: skip


async def test_every_answer_is_the_same(old_db: Database) -> None:
    settings = old_db.settings(
        retention=RetentionSettings(internal_days=None, app_days=None),
        storage=StorageSettings(pack=True),
    )
    async with connect(old_db) as connection:
        await connection.execute(OWN_VIEW)
        for target in TARGETS:
            for start, span in DAYS:
                ensure = "SELECT internal.ensure_partitions($1, $2, $3)"
                await connection.fetchval(ensure, target, start, start + span)
                await connection.execute(FILL.format(target=target), start, span)
        await migrate(old_db.url, settings)
        for target in ("internal", "cumsum"):
            while await connection.fetchval(f"SELECT {target}.rollup_work(p_before => 'infinity')"):
                pass
        async with running_api(old_db) as client:
            before = await answers(connection, client)
            assert len(before) > 100
            assert sum(answer not in (EMPTY, None) for answer in before.values()) > 80
            await pack_and_look(connection, client, before)
        for target in TARGETS:
            assert await connection.fetchval(f"SELECT count(*) FROM {target}.block") > 0
        assert await connection.fetchval("SELECT count(*) FROM internal.histogram_block") > 0


async def pack_and_look(
    connection: asyncpg.Connection, client: Client, before: dict[str, str | bytes]
) -> None:
    """Step by step; now and then, and when all is packed, everything is asked again."""
    later = NOW + timedelta(days=40)  # an old version's partition is a month, and ends with it
    for round_ in range(10):
        for target, name in itertools.product(TARGETS, steps_of("internal")):
            await take_step(connection, name, later if name == "close" else 3000, target)
        await connection.fetchval("SELECT internal.pack_histograms(2, p_quiet => '0')")
        if round_ in (3, 9):
            await look(connection, client, before)
    hot = " + ".join(f"(SELECT count(*) FROM {target}.hot)" for target in TARGETS)
    while await connection.fetchval(f"SELECT {hot}"):
        for target in TARGETS:
            await pack(connection, later, target)
        await asyncio.sleep(0.1)  # an autovacuum that was there before is waited for, for instance
    while await connection.fetchval("SELECT internal.pack_histograms(2, p_quiet => '0')"):
        pass
    assert await connection.fetchval("SELECT count(*) FROM internal.histogram_row") == 0
    await look(connection, client, before)


async def look(
    connection: asyncpg.Connection, client: Client, before: dict[str, str | bytes]
) -> None:
    now = await answers(connection, client)
    assert now.keys() == before.keys()
    changed = [each for each in before if now[each] != before[each]]
    assert not changed, (len(changed), changed[0], before[changed[0]], now[changed[0]])


EMPTY = "[]"


async def answers(connection: asyncpg.Connection, client: Client) -> dict[str, str | bytes]:
    """By question, what is answered: rows as texts in an order of their own."""
    found: dict[str, str | bytes] = {}
    for question, arguments in await questions(connection):
        rows = await connection.fetch(
            f"SELECT to_jsonb(t)::text FROM {question} AS t ORDER BY 1", *arguments
        )
        found[f"{question} {arguments}"] = str([row[0] for row in rows])
    for path in PATHS:
        answer = await client.request("GET", path)
        assert answer.status == 200, (path, answer.text)
        found[path] = answer.body
    for response in (0, 1):
        found[f"remote read {response}"] = await remote_read(client, response)
    return found


async def questions(connection: asyncpg.Connection) -> list[tuple[str, list[Any]]]:
    """Each reader with its arguments."""
    asked: list[tuple[str, list[Any]]] = [("public.mine", [])]
    for row in await connection.fetch(
        "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'v' AND"
        " relnamespace::regnamespace::text IN ('internal', 'cumsum', 'geo', 'metric', 'api', 'app')"
    ):
        if row["name"] not in STATE:
            asked.append((row["name"], []))
    for row in await connection.fetch(
        "SELECT oid::regproc::text AS name, proargnames[:pronargs] AS parameters FROM pg_proc"
        " WHERE pronamespace = 'api'::regnamespace AND provolatile <> 'v'"
    ):
        parameters = row["parameters"] or []
        call = ", ".join(f"{name} => ${n}" for n, name in enumerate(parameters, 1))
        for values in itertools.product(*(choices(parameters))):
            given = {key: value for each in values for key, value in each.items()}
            asked.append((f"{row['name']}({call})", [given[name] for name in parameters]))
    for target, name in itertools.product(TARGETS, BY_PERIOD):
        if name == "samples_between":
            asked += [(f"{target}.{name}($1, $2)", list(period)) for period in PERIODS]
        elif target != "geo":
            asked += [
                (f"{target}.{name}(1, $3, $4, $1, $2)", [*period, [metric], [schema]])
                for period in PERIODS
                for metric, schema in METRICS
            ]
    return asked


def choices(parameters: list[str]) -> list[list[dict[str, Any]]]:
    """What each group of parameters that belong together may be."""
    groups: list[list[dict[str, Any]]] = []
    if OF_METRIC & set(parameters):
        groups.append(
            [{"p_metric": m, "p_metric_name": m, "p_schema": schema} for m, schema in METRICS]
        )
    if "p_from" in parameters:
        groups.append([{"p_from": start, "p_to": end} for start, end in PERIODS])
    return groups + [
        [{name: value} for value in ARGUMENTS[name]]
        for name in parameters
        if name not in OF_METRIC | {"p_from", "p_to"}
    ]


async def remote_read(client: Client, response: int) -> bytes:
    matcher = pb.LabelMatcher(type=2, name="__name__", value="up|web_requests")
    query = pb.Query(
        start_timestamp_ms=int(PERIODS[0][0].timestamp() * 1000),
        end_timestamp_ms=int(NOW.timestamp() * 1000),
        matchers=[matcher],
    )
    body = pb.ReadRequest(queries=[query], accepted_response_types=[response])
    answer = await client.request(
        "POST",
        "/api/v1/read",
        data=compress_snappy(body.SerializeToString()),
        headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    )
    assert answer.status == 200, answer.text
    return answer.body
