"""Settings that a database or a role has of its own change no answer, on neither side."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest

from ingest.migrate import migrate
from ingest.wire.pb import remote_write_v1_pb2 as pb
from tests.support.databases import Database, connect, execute
from tests.support.messages import series
from tests.support.metrics import Metrics
from tests.support.readapi import Client, running_api, token
from tests.support.remote_write import WriteSide, send, snappy, write_side

OTHERS = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "array_nulls": "off",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "backslash_quote": "on",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "exit_on_error": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "1s",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashagg": "off",
    "work_mem": "64kB",
    "max_parallel_workers_per_gather": "4",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
    "min_parallel_table_scan_size": "0",
    "jit_above_cost": "0",
    "check_function_bodies": "off",
    "client_min_messages": "debug1",
    "default_text_search_config": "simple",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "plpgsql.extra_errors": "all",
    "plpgsql.variable_conflict": "use_column",
    "promgres.tenant_id": "7",
    "promgres.duplicates": "likely",
    "promgres.new_rows": "1000",
    "request.jwt.claims": "{}",
}
ANOTHER_WAY = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "America/New_York",
    "extra_float_digits": "3",
    "plan_cache_mode": "force_custom_plan",
}
NOW_MS = time.time_ns() // 60_000_000_000 * 60_000
AT = [NOW_MS - minutes * 60_000 for minutes in (180, 61, 3, 2)]
LATITUDE, THIRD = 52.520006599999995, 0.30000000000000004

Answers = dict[str, tuple[int, str]]


def fill(side: WriteSide) -> None:
    """Something in everything that is stored."""
    labels = {"instance": "a", "country_name": "Österreich", "city": 'Wien\\"'}
    big, supplies = "987654321098765432101.5", "manifest_tokenomics_"
    request = [
        *(series({"name": "up", "n": str(n)}, *[(at, THIRD * n) for at in AT]) for n in (1, 2)),
        series({"name": "web_requests"}, *[(at, n * THIRD) for n, at in enumerate(AT)]),
        series({"name": "manifest_geo_latitude", "instance": "a"}, *[(at, LATITUDE) for at in AT]),
        series({"name": "manifest_geo_longitude", "instance": "a"}, *[(at, -THIRD) for at in AT]),
        series({"name": "manifest_geo_metadata", **labels}, *[(at, 1.0) for at in AT]),
    ]
    for at in AT:
        tier = {"manifest_tier": "mainnet"}
        request += [
            series({"name": f"{supplies}total_supply", "supply": big, **tier}, (at, 9e20)),
            series({"name": f"{supplies}excluded_supply", "excluded_supply": "1", **tier}, (at, 1)),
            series({"name": "talib_mfx_power_conversion", **tier}, (at, THIRD)),
            series({"name": "total_mfx_burned", **tier}, (at, THIRD)),
        ]
    request[0].exemplars.add(
        labels=[pb.Label(name="trace_id", value="a\\b'")], value=THIRD, timestamp=AT[2]
    )
    native = series({"name": "native"})
    for n, at in enumerate(AT):
        native.histograms.add(
            count_int=n, sum=THIRD * n, zero_count_int=n, zero_threshold=1e-3, timestamp=at
        )
    metadata = pb.MetricMetadata(type=1, metric_family_name="up", help="it's up\\", unit="s")
    message = pb.WriteRequest(timeseries=[*request, native], metadata=[metadata])
    assert send(side.url, snappy(message.SerializeToString())).status == 204
    assert side.write(*request).status == 204  # all of it is known
    for number, at in enumerate(AT):
        pushed = f'"idempotency_key": "k{number}", "name": "n", "time": {at / 1000}'
        more = '"attributes": {"é": null, "n": 1.50}'
        for kind, value in (("measure", '"value": 0.30000000000000004,'), ("event", "")):
            body = f"{{{pushed}, {value} {more}}}".encode()
            url = f"http://{side.address}/api/v1/{kind}"
            assert send(url, body, {"Content-Type": "application/json"}).status == 201


async def ask_everything(api: Client, before: Callable[[], Awaitable[None]]) -> Answers:
    """Every function, and what reads pushes, in every form."""
    writer, answers = token(role="writer"), {}
    values: dict[str, Any] = {
        "p_schema": "mainnet",
        "p_interval": "1 hour",
        "p_from": "2026-01-02T00:00:00Z",
        "p_to": "2100-01-01T00:00:00Z",
        "p_value": "an address\\",
        "p_quantile": "0.5",
        "p_name": "n",
        "p_attributes": "{}",
        "p_limit": 10,
        "p_before_time": "2100-01-01T00:00:00Z",
        "p_before_id": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    }

    async def ask(method: str, path: str, accept: str, **more: Any) -> None:
        await before()
        answer = await api.request(method, path, writer, headers={"Accept": accept}, **more)
        answers[f"{method} {path} {accept} {more}"] = (answer.status, answer.text)

    await before()
    document = (await api.request("GET", "/", writer)).json
    answers["document"] = (200, json.dumps(document["paths"], sort_keys=True))
    for path, described in document["paths"].items():
        if not path.startswith("/rpc/") or path.endswith("_excluded_address"):
            continue
        names = described["post"]["parameters"][0]["schema"]["properties"]
        for metric, schema, width in (
            ("up", "common", "1 hour"),
            ("native", "common", "1 minute"),
            ("web_requests", "cumsum", "30 days -720:00:00 2 hours"),
            ("manifest_tokenomics_total_supply", "mainnet", "1 day"),
        ):
            own = {"p_metric_name": metric, "p_schema": schema, "p_interval": width}
            arguments = {name: {**values, **own}.get(name) for name in names}
            if None in arguments.values():
                continue
            await ask("POST", path, "text/csv", json=arguments)
            if "get" in described:
                await ask("GET", f"{path}?{urlencode(arguments)}", "application/json")
    for path in ("measure?name=n", "event?name=n", "measure?name=n&bucket=1%20hour"):
        await ask("GET", f"/api/v1/{path}", "*/*")
    await ask("GET", "/rpc/get_agg_metric?p_interval=nonsense", "*/*")
    await ask("GET", "/rpc/nosuch", "*/*")
    return answers


@asynccontextmanager
async def set_for(
    database: Database, settings: Mapping[str, str]
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The database has these settings, as every session finds them that begins meanwhile. PGlite
    has one session for ever: there, what is yielded sets them in it before each request."""
    name = database.url.partition("?")[0].rpartition("/")[2]
    scope = "SET" if database.one_session else f"ALTER DATABASE {name} SET"
    statements = "SELECT 1; " + "; ".join(
        f"{scope} {key} = '{value}'" for key, value in settings.items()
    )

    async def again() -> None:
        if database.one_session:
            await admin.execute(statements)

    async with connect(database) as admin:
        await admin.execute(statements)
        yield again
        await admin.execute(
            "RESET ALL" if database.one_session else f"ALTER DATABASE {name} RESET ALL"
        )


async def answers_with(database: Database, settings: Mapping[str, str]) -> Answers:
    """What a read API answers while the database has these settings."""
    async with set_for(database, settings) as again, running_api(database) as api:
        return await ask_everything(api, again)


def differences(right: Answers, answers: Answers) -> list[object]:
    assert answers.keys() == right.keys()
    return [
        (asked, right[asked], answers[asked]) for asked in right if answers[asked] != right[asked]
    ]


async def test_what_is_written_is_the_same(
    postgres_db: Database, empty_postgres_db: Database
) -> None:
    """Nothing goes by the spool: a stricter isolation than READ COMMITTED is not ours."""
    await migrate(empty_postgres_db.url, empty_postgres_db.settings())
    with write_side(postgres_db) as side:
        fill(side)
    async with set_for(empty_postgres_db, OTHERS):
        with write_side(empty_postgres_db) as side:
            fill(side)
            metrics = Metrics(side.address)
            assert metrics.value("promgres_spool_appended_total") == 0, side.program.output
            metrics.assert_balanced()
    right = await answers_with(postgres_db, {})
    assert differences(right, await answers_with(empty_postgres_db, {})) == []


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
async def test_senders_beside_each_other_under_a_stricter_isolation(
    postgres_db: Database, isolation: str
) -> None:
    async with set_for(postgres_db, {"default_transaction_isolation": isolation}):
        with write_side(postgres_db) as side:
            requests = [
                [
                    series({"name": f"m{n % 40}", "n": str(n)}, (AT[0] + turn, 1.0))
                    for n in range(turn, turn + 200)
                ]
                for turn in range(0, 2000, 50)
            ]
            with ThreadPoolExecutor(12) as senders:
                answers = list(senders.map(lambda request: side.write(*request), requests))
            assert {answer.status for answer in answers} == {204}
            assert Metrics(side.address).value("promgres_spool_appended_total") == 0


async def test_none_of_them_changes_an_answer(engine_db: Database) -> None:
    with write_side(engine_db) as side:
        fill(side)
    right = await answers_with(engine_db, {})
    assert sum(status == 200 for status, _ in right.values()) > 50
    for settings in (OTHERS, OTHERS | ANOTHER_WAY):
        assert differences(right, await answers_with(engine_db, settings)) == []


async def test_those_of_the_login_change_no_answer(postgres_db: Database) -> None:
    with write_side(postgres_db) as side:
        fill(side)
    right = await answers_with(postgres_db, {})
    name = postgres_db.url.partition("?")[0].rpartition("/")[2]
    alter = f"ALTER ROLE promgres_api IN DATABASE {name}"
    await execute(
        postgres_db.url, *(f"{alter} SET {key} = '{each}'" for key, each in OTHERS.items())
    )
    assert differences(right, await answers_with(postgres_db, {})) == []
