"""Prometheus' API over HTTP: every path, its words, whose data is seen, and how queries end."""

from __future__ import annotations

import asyncio
import gzip
import math
import os
import signal
import struct
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psutil
import pytest
import structlog

from ingest.config import AuthSettings, QuerySettings
from ingest.wire.encoding.snappy import compress_snappy, decompress_snappy
from ingest.wire.pb import remote_read_pb2 as pb
from ingest.wire.pb import remote_write_v1_pb2 as v1
from tests.attacks.siege import peak_bytes
from tests.engines.native import copy
from tests.engines.sql_api import Api, Sample
from tests.support import chunks
from tests.support.answer import Answer
from tests.support.databases import Database, blocking, connect
from tests.support.keys import bearer, create_key, create_tenant
from tests.support.processes import wait_until
from tests.support.readapi import Client, running_api

START = datetime(2026, 6, 1, tzinfo=UTC)
AT = START.timestamp()
STEP = timedelta(seconds=15)
ENDLESS = " + ".join(["max_over_time(quantile_over_time(0.5, m[1h:1s])[1h:1s])"] * 20)
"""It would take a minute and more."""


@pytest.fixture(scope="module")
def db(shared_postgres_db: Database) -> Database:
    """An hour of four series of `m`, and one of a tenant of its own."""
    blocking(create_tenant(shared_postgres_db, "acme"))
    blocking(_store(shared_postgres_db))
    return shared_postgres_db


async def _store(database: Database) -> None:
    async with connect(database) as connection:
        tenant = await connection.fetchval("SELECT tenant_id FROM app.tenant WHERE name = 'acme'")
        await Api(database, connection).store(
            *[
                Sample(
                    START + i * STEP,
                    "m",
                    float(i * (n + 1)),
                    labels={"job": "ab"[n % 2], "n": str(n)},
                )
                for n in range(4)
                for i in range(240)
            ],
            Sample(START, "m", 7.0, labels={"of": "acme"}, tenant_id=tenant),
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO staging_internal.metadata VALUES"
            " (now(), 1, 'm', 'counter', 'seconds', 'What m counts')"
        )
        series = await connection.fetchval(
            'SELECT series_id FROM internal.series WHERE labels @> \'{"n": "0"}\''
        )
        exemplar = (START + timedelta(milliseconds=1), series, math.inf, '{"trace_id": "a"}')
        await copy(Api(database, connection), "exemplar", [exemplar])


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Client]:
    async with running_api(db) as client:
        yield client


async def ask(
    client: Client, path: str, headers: dict[str, str] | None = None, **query: Any
) -> Answer:
    params = [(name.replace("__", "[]"), str(one)) for name, given in query.items()
              for one in (given if isinstance(given, list) else [given])]  # fmt: skip
    return await client.request("GET", f"/api/v1/{path}", params=params, headers=headers or {})


async def data(client: Client, path: str, **query: Any) -> Any:
    answer = await ask(client, path, **query)
    assert answer.status == 200, answer.text
    assert answer.json["status"] == "success"
    return answer.json["data"]


async def test_instant_queries(api: Client) -> None:
    """Scalars, texts, vectors, matrices; times as Grafana and others write them."""
    assert await data(api, "query", query="1+1", time=4) == {
        "resultType": "scalar",
        "result": [4, "2"],
    }
    text = {"resultType": "string", "result": [4, "é"]}
    assert await data(api, "query", query='"é"', time="1970-01-01T00:00:04Z") == text
    found = await data(api, "query", query="sum by (job) (m)", time=AT + 60)
    assert found == {
        "resultType": "vector",
        "result": [
            {"metric": {"job": "a"}, "value": [AT + 60, "16"]},
            {"metric": {"job": "b"}, "value": [AT + 60, "24"]},
        ],
    }
    found = await data(api, "query", query='m{n="1"}[31s]', time=AT + 60)
    assert found["resultType"] == "matrix"
    assert found["result"][0]["values"] == [[AT + 30, "4"], [AT + 45, "6"], [AT + 60, "8"]]
    assert (await data(api, "query", query="m", time=AT - 1))["result"] == []
    assert len((await data(api, "query", query="m", time=AT, limit=3))["result"]) == 3


async def test_range_queries(api: Client) -> None:
    question = {
        "query": 'increase(m{n="1"}[1m])',
        "start": AT + 600,
        "end": AT + 630,
        "step": "15s",
    }
    found = await data(api, "query_range", **question)
    values = [[AT + 600 + 15 * i, "8"] for i in range(3)]
    assert found == {
        "resultType": "matrix",
        "result": [{"metric": {"job": "b", "n": "1"}, "values": values}],
    }
    answer = await ask(api, "query_range", **question)
    assert answer.json["infos"] == [
        "PromQL info: metric might not be a counter, name does not end in"
        ' _total/_sum/_count/_bucket: "m" (1:10)'
    ]
    posted = await api.request(
        "POST",
        "/api/v1/query_range",
        data="&".join(f"{name}={value}" for name, value in question.items()),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert posted.json == answer.json
    found = await data(api, "query_range", query="1", start=0, end=30, step=15)
    assert found["result"] == [{"metric": {}, "values": [[0, "1"], [15, "1"], [30, "1"]]}]


async def test_what_there_is(api: Client) -> None:
    assert await data(api, "labels") == ["__name__", "job", "n"]
    assert await data(api, "labels", match__='{__name__="nothing"}') == []
    assert await data(api, "label/job/values") == ["a", "b"]
    assert await data(api, "label/job/values", match__=['m{n="0"}', 'm{n="2"}']) == ["a"]
    assert await data(api, "label/__name__/values") == ["m"]
    assert await data(api, "label/n/values", limit=2) == ["0", "1"]
    assert await data(api, "label/U__n/values") == ["0", "1", "2", "3"]
    assert await data(api, "series", match__='m{n=~"[01]"}') == [
        {"__name__": "m", "job": "a", "n": "0"},
        {"__name__": "m", "job": "b", "n": "1"},
    ]
    assert await data(api, "series", match__="m", start=AT - 100, end=AT - 1) == []
    assert len(await data(api, "series", match__="m", start=AT, end=AT)) == 4
    for text in (r"\x00", r"\xff"):  # no label is so, as PostgreSQL has no such text
        for selector in (f'm{{n="{text}"}}', f'{{__name__="{text}"}}'):
            assert await data(api, "series", match__=selector) == []
            assert (await data(api, "query", query=selector))["result"] == []
        assert len(await data(api, "series", match__=f'm{{n!="{text}"}}')) == 4
    assert await data(api, "label/%00/values") == []
    assert await data(api, "metadata", metric="\0") == {}
    help_text = [{"type": "counter", "unit": "seconds", "help": "What m counts"}]
    assert await data(api, "metadata") == {"m": help_text}
    assert await data(api, "metadata", metric="x") == {}
    assert (await data(api, "status/buildinfo"))["version"].startswith("3.")
    assert await data(api, "rules") == {"groups": []}
    assert await data(api, "alerts") == {"alerts": []}
    counted = await data(api, "status/tsdb")
    assert counted["headStats"]["numSeries"] == 4
    assert counted["seriesCountByMetricName"] == [{"name": "m", "value": 4}]
    assert await data(api, "query_exemplars", query="m", start=AT, end=AT) == []
    assert await data(api, "query_exemplars", query='rate(m{job="a"}[5m]) + m', start=AT) == [
        {
            "seriesLabels": {"__name__": "m", "job": "a", "n": "0"},
            "exemplars": [{"labels": {"trace_id": "a"}, "value": "+Inf", "timestamp": AT + 0.001}],
        }
    ]
    assert await data(api, "metadata", limit=0) == {}
    assert await data(api, "metadata", limit=-1, limit_per_metric=1) == {"m": help_text}
    assert await data(api, "format_query", query="sum(m)by(job)") == "sum by (job) (m)"
    assert (await data(api, "parse_query", query="sum(m)"))["type"] == "aggregation"


@pytest.mark.parametrize(
    ("path", "query", "status", "kind", "words"),
    [
        ("query", {"query": "foo bar"}, 400, "bad_data",
         'invalid parameter "query": 1:5: parse error: unexpected identifier "bar"'),
        ("query", {"query": "m", "time": "x"}, 400, "bad_data",
         'invalid parameter "time": cannot parse "x" to a valid timestamp'),
        ("query_range", {"query": "m"}, 400, "bad_data", 'invalid parameter "start"'),
        ("query_range", {"query": "m", "start": 0, "end": 1e6, "step": 1}, 400, "bad_data",
         "exceeded maximum resolution of 11,000 points per timeseries"),
        ("query_range", {"query": '"text"', "start": 0, "end": 1, "step": 1}, 400, "bad_data",
         "invalid expression type"),
        ("query", {"query": "m * on(x) group_left(y) m", "time": AT}, 422, "execution",
         "found duplicate series for the match group"),
        ("query", {"query": "m", "timeout": "x"}, 400, "bad_data", 'invalid parameter "timeout"'),
        ("series", {}, 400, "bad_data", "no match[] parameter provided"),
        ("series", {"match__": "{"}, 400, "bad_data", 'invalid parameter "match[]"'),
        ("labels", {"limit": "x"}, 400, "bad_data", "strconv.Atoi"),
        ("labels", {"limit": -1}, 400, "bad_data", "limit must be non-negative"),
        ("label/__bad/values", {"start": "x"}, 400, "bad_data", 'invalid parameter "start"'),
        ("metadata", {"limit": "x"}, 400, "bad_data", "limit must be a number"),
        ("metadata", {"limit_per_metric": "x"}, 400, "bad_data",
         "limit_per_metric must be a number"),
        ("status/tsdb", {"limit": 0}, 400, "bad_data", "limit must be a positive number"),
        ("status/tsdb", {"limit": 10**5}, 400, "bad_data", "limit must not exceed 10000"),
        ("query_exemplars", {"query": "m", "start": 2, "end": 1}, 400, "bad_data",
         "end timestamp must not be before start timestamp"),
        ("query_exemplars", {"query": "m{"}, 400, "bad_data", "parse error"),
        ("format_query", {"query": "m{"}, 400, "bad_data",
         'invalid parameter "query": 1:3: parse error'),
        ("parse_query", {}, 400, "bad_data", "no expression found in input"),
        ("query", {"query": "m", "lookback_delta": "x"}, 400, "bad_data",
         'invalid parameter "lookback_delta"'),
        ("query_range", {"query": "m", "start": 2, "end": 1, "step": 1}, 400, "bad_data",
         'invalid parameter "end": end timestamp must not be before start time'),
        ("query_range", {"query": "m", "start": 0, "end": 1, "step": 0}, 400, "bad_data",
         "zero or negative query resolution step widths are not accepted"),
        ("nothing", {}, 404, "not_found", "404 page not found"),
        ("status/flags", {}, 404, "not_found", "404 page not found"),
    ],
)  # fmt: skip
async def test_refusals_are_prometheus_documents(
    api: Client, path: str, query: dict[str, Any], status: int, kind: str, words: str
) -> None:
    answer = await ask(api, path, **query)
    assert (answer.status, answer.json["status"], answer.json["errorType"]) == (
        status,
        "error",
        kind,
    )
    assert words in answer.json["error"]
    assert answer.headers["Content-Type"] == "application/json"


async def test_stats_tell_what_a_query_cost(api: Client) -> None:
    question = {"query": "sum(max_over_time(m[1m]))", "start": AT + 60, "end": AT + 120, "step": 15}
    assert "stats" not in await data(api, "query_range", **question)
    answer = await ask(api, "query_range", stats="all", **question)
    stats = answer.json["data"]["stats"]
    assert stats["samples"]["totalQueryableSamples"] == 4 * 4 * 5  # of series, in a window, steps
    assert stats["samples"]["samplesRead"] == 4 * 8
    assert stats["samples"]["seriesTouched"] == 4
    assert stats["samples"]["peakSamples"] >= 4 * 8
    timings = stats["timings"]
    assert 0 < timings["innerEvalTime"] < timings["execTotalTime"] == timings["evalTotalTime"]
    assert "warnings" not in answer.json
    odd = await ask(api, "query", query="m", time=AT, stats="1")
    assert odd.json["data"]["stats"]["samples"]["totalQueryableSamples"] == 4
    assert odd.json["warnings"][0].startswith('value "1" for parameter "stats" is deprecated')


async def test_no_timeout_and_no_lookback_are_the_usual_ones(api: Client) -> None:
    for given in ("0", "-5"):
        found = await data(api, "query", query="m", time=AT, timeout=given, lookback_delta=given)
        assert len(found["result"]) == 4


async def test_methods(api: Client) -> None:
    for method, path, status in (
        ("PUT", "query", 405),
        ("POST", "metadata", 405),
        ("GET", "read", 405),
        ("POST", "rules", 405),
        ("HEAD", "query?query=1", 200),
    ):
        answer = await api.request(method, f"/api/v1/{path}")
        assert answer.status == status, (method, path)
        if status == 405:
            assert answer.json["status"] == "error"
            assert answer.headers["Allow"]


async def test_a_tenant_sees_its_own_and_a_key_is_asked_for(db: Database) -> None:
    keys = {scope: await create_key(db, "acme", scope) for scope in ("read", "write")}
    async with running_api(db, auth=AuthSettings(required=True)) as client:
        for path in ("query?query=m", "labels", "rules", "status/buildinfo", "label/of/values"):
            answer = await client.request("GET", f"/api/v1/{path}")
            assert (answer.status, answer.json["errorType"]) == (401, "unauthorized"), path
            assert "Bearer" in answer.headers["WWW-Authenticate"]
            answer = await client.request("GET", f"/api/v1/{path}", headers=bearer(keys["write"]))
            assert (answer.status, answer.json["errorType"]) == (403, "forbidden"), path
        mine = bearer(keys["read"])
        found = (await ask(client, "query", mine, query="m", time=AT)).json["data"]["result"]
        assert found == [{"metric": {"__name__": "m", "of": "acme"}, "value": [AT, "7"]}]
        assert (await ask(client, "label/of/values", mine)).json["data"] == ["acme"]
        assert (await ask(client, "label/job/values", mine)).json["data"] == []
        assert (await ask(client, "metadata", mine)).json["data"] == {}
        assert (await ask(client, "status/tsdb", mine)).json["data"]["headStats"]["numSeries"] == 1


async def test_remote_read(api: Client) -> None:
    query = pb.Query(
        start_timestamp_ms=int(AT * 1000),
        end_timestamp_ms=int(AT * 1000) + 15_000,
        matchers=[
            pb.LabelMatcher(type=0, name="__name__", value="m"),
            pb.LabelMatcher(type=2, name="n", value="[12]"),
        ],
    )
    empty = pb.Query(matchers=[pb.LabelMatcher(type=0, name="x", value="y")])

    async def read(*forms: int) -> Answer:
        body = pb.ReadRequest(queries=[empty, query], accepted_response_types=forms)
        return await api.request(
            "POST",
            "/api/v1/read",
            data=compress_snappy(body.SerializeToString()),
            headers={"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
        )

    answer = await read(0, 1)
    assert answer.status == 200, answer.text
    assert answer.headers["Content-Encoding"] == "snappy"
    assert answer.headers["Content-Type"] == "application/x-protobuf"
    raw = decompress_snappy(answer.body, 10**6)
    first, second = (content for _, content in chunks.fields(raw))
    assert first == b""
    assert isinstance(second, bytes)
    series = [v1.TimeSeries.FromString(each) for _, each in chunks.fields(second)]
    assert [{label.name: label.value for label in one.labels} for one in series] == [
        {"__name__": "m", "job": "a", "n": "2"},
        {"__name__": "m", "job": "b", "n": "1"},
    ]
    points = [(sample.timestamp, sample.value) for sample in series[1].samples]
    assert points == [(int(AT * 1000), 0.0), (int(AT * 1000) + 15_000, 2.0)]
    for sent, words in ((b"x", "snappy"), (compress_snappy(b"\xff"), "protobuf")):
        refused = await api.request("POST", "/api/v1/read", data=sent)
        assert refused.status == 400
        assert words in refused.json["error"]
    unknown = await read(7)
    assert (unknown.status, unknown.json["errorType"]) == (400, "bad_data")
    assert (await read()).body == answer.body, "who names no form gets samples"
    for forms in ((1, 0), (7, 1)):
        streamed = await read(*forms)
        assert streamed.headers["Content-Type"] == (
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        )
        assert "Content-Encoding" not in streamed.headers
        found = chunks.streamed(streamed.body)
        assert [labels for _, labels in found] == [
            (("__name__", "m"), ("job", "a"), ("n", "2")),
            (("__name__", "m"), ("job", "b"), ("n", "1")),
        ]
        [chunk] = found[1, (("__name__", "m"), ("job", "b"), ("n", "1"))]
        assert (chunk.from_ms, chunk.to_ms, chunk.kind) == (points[0][0], points[1][0], 1)
        two = int.from_bytes(struct.pack(">d", 2.0), "big")
        assert chunks.floats(chunk.data) == [(points[0][0], 0), (points[1][0], two)]


def workers() -> list[psutil.Process]:
    """Processes below the nursery of this process."""
    mine = psutil.Process()
    nurseries = [child for child in mine.children() if child.name() == mine.name()]
    return [worker for nursery in nurseries for worker in nursery.children()]


async def test_a_dear_query_holds_up_nobody_and_ends_in_its_time(db: Database) -> None:
    settings = QuerySettings(timeout_seconds=3, workers=1, max_samples=10**8)
    async with running_api(db, query=settings) as client:
        began = time.monotonic()
        dear = [
            asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
            for _ in range(2)
        ]
        meanwhile = 0
        while not any(task.done() for task in dear):
            answer = await ask(client, "query", query="sum(m)", time=AT + 60)
            assert answer.json["data"]["result"][0]["value"][1] == "40"
            meanwhile += 1
        assert meanwhile > 1
        answer = await dear[0]
        assert (answer.status, answer.json["errorType"]) == (503, "timeout")
        assert time.monotonic() - began < 30
        for task in dear[1:]:
            assert (await task).status == 503


def works(worker: psutil.Process) -> bool:
    """Whether it uses a processor, as far as others leave it one."""
    try:
        before = sum(worker.cpu_times()[:2])
        time.sleep(0.3)
        return sum(worker.cpu_times()[:2]) > before + 0.01
    except psutil.NoSuchProcess:
        return False


async def working() -> list[psutil.Process]:
    """Workers that evaluate something."""
    found: list[psutil.Process] = []
    look = partial(_look, found)
    await asyncio.to_thread(wait_until, look, 20, "a worker works")
    return found


def _look(found: list[psutil.Process]) -> bool:
    found[:] = [each for each in workers() if works(each)]
    return bool(found)


async def test_a_query_whose_client_is_gone_is_ended(db: Database) -> None:
    async with running_api(
        db, query=QuerySettings(timeout_seconds=100, workers=1, max_samples=10**8)
    ) as client:
        gone = asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
        [busy] = await working()
        gone.cancel()

        def rests() -> bool:
            return not busy.is_running() or not works(busy)

        await asyncio.to_thread(wait_until, rests, 20, "it works no more")
        assert await data(client, "query", query="1", time=4)


async def test_a_worker_that_dies_costs_its_own_query(db: Database) -> None:
    async with running_api(db, query=QuerySettings(workers=1, max_samples=10**8)) as client:
        assert await data(client, "query", query="1", time=4)
        [worker] = workers()
        os.kill(worker.pid, signal.SIGKILL)
        asked = [asyncio.create_task(ask(client, "query", query="1", time=4)) for _ in range(5)]
        statuses = [(await task).status for task in asked]
        assert set(statuses) <= {200, 503}
        assert statuses.count(503) <= 1
        dear = asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
        for each in await working():
            os.kill(each.pid, signal.SIGKILL)
        answer = await dear
        assert (answer.status, answer.json["errorType"]) == (503, "unavailable")
        assert answer.headers["Retry-After"]
        assert await data(client, "query", query="1", time=4)


async def test_limits(db: Database) -> None:
    async with running_api(db, query=QuerySettings(max_samples=100, max_series=3)) as client:
        for query, words in (('m{n="0"}[1h]', "query.max_samples"), ("m", "query.max_series")):
            answer = await ask(client, "query", query=query, time=AT + 3600)
            assert (answer.status, answer.json["errorType"]) == (422, "execution")
            assert words in answer.json["error"]
    async with running_api(
        db, query=QuerySettings(max_concurrent=1, timeout_seconds=3, max_samples=10**8)
    ) as client:
        both = [
            asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
            for _ in range(2)
        ]
        answers = [await each for each in both]
        assert {answer.status for answer in answers} == {503}
        kept_out = [each for each in answers if "query.max_concurrent" in each.json["error"]]
        assert len(kept_out) == 1


async def test_cells_count_as_samples_do(db: Database) -> None:
    """Few samples at many steps: what an evaluation would need is refused before it is there."""
    steps = {"start": AT, "end": AT + 10_000, "step": 1}
    async with running_api(db, query=QuerySettings(max_samples=60_000)) as client:
        answer = await ask(client, "query_range", query="m", **steps)
        assert (answer.status, answer.json["errorType"]) == (422, "execution")
        assert "too many samples into memory" in answer.json["error"]
        answer = await ask(client, "query", query="max_over_time(vector(1)[100d:1s])", time=AT)
        assert (answer.status, answer.json["errorType"]) == (422, "execution")
        answer = await ask(client, "query_range", query='m{n="0"}', **steps)
        assert answer.status == 200
        both = " + ".join(f'sum(m{{n="{n}"}} * {n + 1})' for n in range(4))
        assert (await ask(client, "query_range", query=both, **steps)).status == 200


async def test_a_long_answer_comes_whole_or_not_at_all(db: Database) -> None:
    question = {"query": "m", "start": AT, "end": AT + 3600, "step": 1}
    async with running_api(db) as client:
        plain = await ask(client, "query_range", **question)
        assert int(plain.headers["Content-Length"]) == len(plain.body) > 200_000
        packed = await ask(client, "query_range", {"Accept-Encoding": "gzip"}, **question)
        assert gzip.decompress(packed.body) == plain.body
    async with running_api(db, max_answer_bytes=100_000) as client:
        answer = await ask(client, "query_range", **question)
        assert (answer.status, answer.json["errorType"]) == (422, "execution")
        assert "api.max_answer_bytes" in answer.json["error"]


async def test_features_are_off_unless_they_are_named(db: Database) -> None:
    query = 'sort_by_label(m{n="0"}, "n")'
    async with running_api(db) as client:
        answer = await ask(client, "query", query=query, time=AT)
        assert answer.status == 400
        assert "is not enabled" in answer.json["error"]
    on = QuerySettings(features=["promql-experimental-functions"])
    async with running_api(db, query=on) as client:
        assert (await ask(client, "query", query=query, time=AT)).status == 200


async def test_an_old_lookback_is_what_the_setting_says(db: Database) -> None:
    late = AT + 239 * 15 + 100
    async with running_api(db, query=QuerySettings(lookback_seconds=60)) as client:
        assert (await data(client, "query", query="m", time=late))["result"] == []
        found = await data(client, "query", query="count(m)", time=late, lookback_delta="5m")
        assert found["result"][0]["value"][1] == "4"


async def test_it_is_counted(api: Client) -> None:
    await data(api, "query", query="m", time=AT)
    metrics = (await api.request("GET", "/metrics")).text
    assert 'promgres_api_requests_total{function="/api/v1/query",status="200"}' in metrics
    for stage in ("parse", "select", "fetch", "evaluate", "render"):
        assert f'promgres_query_stage_seconds_count{{stage="{stage}"}}' in metrics


async def test_a_slow_query_is_logged_and_counted(db: Database) -> None:
    async with running_api(db, slow_seconds=1e-6) as client:
        with structlog.testing.capture_logs() as logs:
            await data(client, "query", query="sum(m)", time=AT)
            gone = asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
            await working()
            gone.cancel()
            await asyncio.to_thread(
                wait_until, lambda: len(slow(logs)) == 2, 30, "the abandoned one is logged, too"
            )
        first, second = slow(logs)
    assert first["event"] == "a slow query"
    assert (first["query"], first["tenant"], first["status"]) == ("sum(m)", "default", 200)
    assert first["seconds"] >= 0
    assert {"parse", "select", "fetch", "evaluate", "render"} <= first.keys()
    assert (second["event"], second["status"]) == ("a query was abandoned", None)
    assert second["query"] == ENDLESS[:2000]


def slow(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if line["event"] in ("a slow query", "a query was abandoned")]


async def test_a_client_that_leaves_ends_its_statement(db: Database) -> None:
    """Down to the database: a statement that would wait for a lock for ever is cancelled."""
    asks = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'promgres api query'"
    async with (
        running_api(db, query=QuerySettings(timeout_seconds=100)) as client,
        connect(db) as watching,
        connect(db) as other,
        other.transaction(),
    ):
        await other.execute("LOCK TABLE internal.series IN ACCESS EXCLUSIVE MODE")

        async def waiting(count: int) -> None:
            async with asyncio.timeout(60):
                while await watching.fetchval(f"{asks} AND wait_event_type = 'Lock'") != count:
                    await watching.execute("SELECT pg_sleep(0.05)")

        gone = asyncio.create_task(ask(client, "query", query="m", time=AT))
        await waiting(1)
        gone.cancel()
        await waiting(0)


async def test_a_worker_that_does_not_let_go_is_killed(db: Database) -> None:
    """Stopped, it hears nothing: its query gets a 503 in time, and others go on."""
    async with running_api(db, query=QuerySettings(timeout_seconds=1, workers=1)) as client:
        assert await data(client, "query", query="1", time=4)
        dear = asyncio.create_task(ask(client, "query", query=ENDLESS, time=AT + 3600))
        for each in await working():
            each.suspend()
        answer = await dear
        assert (answer.status, answer.json["errorType"]) == (503, "unavailable")
        assert "killed" in answer.json["error"]
        assert await data(client, "query", query="1", time=4)
        metrics = (await client.request("GET", "/metrics")).text
        assert 'promgres_query_workers_ended_total{reason="killed"}' in metrics


MOST = 300_000


async def test_a_worker_has_no_more_memory_than_its_samples_may_take(db: Database) -> None:
    """24 bytes for each, and 200 MiB: whatever is asked, whether it is answered or refused."""
    settings = QuerySettings(max_samples=MOST, timeout_seconds=60, workers=1)
    async with running_api(db, query=settings) as client:
        assert await data(client, "query", query="1", time=4)
        [worker] = workers()
        before = worker.memory_info().rss
        statuses = set()
        for query in (
            "m[1h]",
            "quantile_over_time(0.5, m[1h])",
            "sum by (n) (m[1h:1s] @ end())",
            "max_over_time(rate(m[5m])[1h:1s])",
            "m + on(n) group_left() m * on (n) m - on (n) m",
            "sort_desc(label_replace(m, 'x', '$1', 'n', '(.*)'))",
            "count_values('v', m) or quantile(0.1, m) or topk(3, m)",
            "max_over_time(sum_over_time(m[1h:1s])[1h:5s])",
        ):
            answer = await ask(
                client, "query_range", query=query, start=AT, end=AT + 10_000, step=1
            )
            statuses.add(answer.status)
            answer = await ask(client, "query", query=query, time=AT + 3600)
            statuses.add(answer.status)
        assert max(peak_bytes(each.pid) for each in workers()) < before + 24 * MOST + 200 * 2**20
        assert statuses <= {200, 400, 422, 503}
        assert {200, 422} <= statuses
