"""`/export`: every sample of a period, exactly, in every format, on both engines."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import math
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow.parquet as pq
import pytest

from ingest.config import QuerySettings
from ingest.errors import DatabaseAway
from ingest.promql.values import STALE
from ingest.storage import exporting
from tests.support.answer import Answer
from tests.support.databases import Database, blocking
from tests.support.processes import PROMGRES, Program, get, run
from tests.support.read_side import read_side
from tests.support.readapi import Client, running_api
from tests.support.sql_samples import moment, samples_of

START = moment("2026-03-01 00:00")
MINUTE = timedelta(minutes=1)
DAY = {"from": "2026-03-01", "to": "2026-03-02"}
VALUES: list[tuple[float, Decimal | None, str]] = [
    (0.0, None, "0"),
    (-0.0, None, "0"),
    (60.0, None, "60"),
    (0.379, None, "0.379"),
    (-1.5e-7, None, "-0.00000015"),
    (1e23, None, "99999999999999990000000"),  # PostgreSQL's shortest decimal, not Python's
    (2.0**53, None, "9007199254740992"),
    (1.3e20, Decimal("135304300855652060000.50"), "135304300855652060000.5"),
    (1.0, Decimal("0." + "1" * 100), "0." + "1" * 100),
    (math.nan, None, "NaN"),
    (math.inf, None, "Infinity"),
    (-math.inf, None, "-Infinity"),
]
"""Of one metric, a minute after the other: stored, exact, and as it leaves."""
LABELS = {"job": 'a "b", c\nd', "value": "7", "=x": "ü"}


async def store(database: Database) -> None:
    """A metric of every kind of value, one of three series in two targets, a stale marker."""
    async with samples_of(database) as samples:
        odd = await samples.series("odd", __name__="Odd", **LABELS)
        rows = [
            (START + number * MINUTE, odd, value, exact)
            for number, (value, exact, _) in enumerate(VALUES)
        ]
        rows.append((START + timedelta(hours=1), odd, float(STALE), Decimal("NaN")))
        rows.append((START + timedelta(hours=2, microseconds=5), odd, 3.0, None))
        many = [await samples.series("many", job=f"j{each}", zone="z") for each in range(2)]
        rows += [
            (START + number * MINUTE / 4, series_id, float(number), None)
            for series_id in many
            for number in range(500)
        ]
        await samples.copy(rows)
        total = await samples.series("many", "cumsum", "cumsum", job="j2")
        await samples.copy([(START, total, 5.0, Decimal("5.10"))], "cumsum")


@pytest.fixture(scope="module")
def filled_db(shared_db: Database) -> Database:
    blocking(store(shared_db))
    return shared_db


@pytest.fixture
async def api(filled_db: Database) -> AsyncIterator[Client]:
    async with running_api(filled_db) as client:
        yield client


async def export(api: Client, *more: tuple[str, str], **query: str) -> Answer:
    pairs = [*({**DAY, **query}).items(), *more]
    return await api.request("GET", f"/export?{urlencode(pairs)}")


def cells(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def lines(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.text
    return [json.loads(line, parse_float=str, parse_int=str) for line in answer.text.splitlines()]


async def test_every_value_leaves_exactly(api: Client) -> None:
    answer = await export(api, metric="odd")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="odd.csv"'
    found = cells(answer)
    assert list(found[0]) == ["timestamp", "value", "metric", "schema", "=x", "job", "label_value"]
    assert [row["value"] for row in found] == [text for _, _, text in VALUES] + ["3"]
    assert found[1]["timestamp"] == "2026-03-01T00:01:00.000Z"
    assert found[-1]["timestamp"] == "2026-03-01T02:00:00.000005Z"
    assert all(
        (row["metric"], row["schema"], row["job"], row["label_value"], row["=x"])
        == ("Odd", "common", LABELS["job"], "7", "ü")
        for row in found
    )
    objects = lines(await export(api, metric="ODD", format="ndjson"))
    assert [each["value"] for each in objects] == [row["value"] for row in found]
    assert [each["timestamp"] for each in objects] == [row["timestamp"] for row in found]
    assert all(each["labels"] == LABELS and each["metric"] == "Odd" for each in objects)
    table = pq.read_table(io.BytesIO((await export(api, metric="odd", format="parquet")).body))
    rows = table.to_pylist()
    assert [str(row["timestamp"].isoformat()) for row in rows][:2] == [
        "2026-03-01T00:00:00+00:00",
        "2026-03-01T00:01:00+00:00",
    ]
    for row, (value, exact, text) in zip(rows, VALUES, strict=False):
        assert row["value"] == value or math.isnan(value)
        assert row["exact"] == (text if exact is not None or 1e15 <= value < math.inf else None)
        assert (row["job"], row["label_value"]) == (LABELS["job"], "7")


@pytest.mark.parametrize("most", [50_000, 40])
async def test_whatever_a_slice_holds_all_samples_are_there_once_and_in_order(
    api: Client, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(exporting, "SLICE_SAMPLES", most)
    monkeypatch.setattr(exporting, "PAGE_SERIES", 2)
    expected = [("cumsum", "j2", START, "5.1")] + [
        ("common", f"j{each}", START + number * MINUTE / 4, str(number))
        for number in range(500)
        for each in range(2)
    ]
    for form in ("csv", "ndjson", "parquet"):
        answer = await export(api, metric="many", format=form)
        if form == "parquet":
            rows = pq.read_table(io.BytesIO(answer.body)).to_pylist()
            got = [
                (r["schema"], r["job"], r["timestamp"], r["exact"] or f"{r['value']:.0f}")
                for r in rows
            ]
        elif form == "csv":
            got = [
                (r["schema"], r["job"], datetime.fromisoformat(r["timestamp"]), r["value"])
                for r in cells(answer)
            ]
        else:
            got = [
                (
                    r["schema"], r["labels"]["job"],
                    datetime.fromisoformat(r["timestamp"]), r["value"],
                )
                for r in lines(answer)
            ]  # fmt: skip
        assert got == expected, form


async def test_more_series_at_one_moment_than_a_slice_holds(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "SLICE_SAMPLES", 2)
    got = cells(await export(api, metric="many", to="2026-03-01T00:00:30Z"))
    assert [(row["job"], row["value"]) for row in got] == [
        ("j2", "5.1"), ("j0", "0"), ("j1", "0"), ("j0", "1"), ("j1", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "jobs"),
    [
        ([("metric", "many"), ("match", '{job="j1"}')], {"j1"}),
        ([("metric", "many"), ("match", '{"job": "j1"}')], {"j1"}),
        ([("match", '{__name__="many",job=~"j[02]"}')], {"j0", "j2"}),
        ([("match", 'many{job!="j1"}'), ("match[]", '{job="j1"}')], {"j0", "j1", "j2"}),
        ([("match", 'MANY{job="j1"}')], set()),  # a selector has names as sent
        ([("metric", "many"), ("match", '{zone=""}')], {"j2"}),
        ([("metric", "nothing")], set()),
    ],
)
async def test_series_are_those_that_meet_one_of_the_selectors(
    api: Client, query: list[tuple[str, str]], jobs: set[str]
) -> None:
    assert {row["job"] for row in cells(await export(api, *query))} == jobs


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({}, 400, "metric is missing"),
        ({"match": "{job="}, 400, "match: "),
        ({"match": '{"job": 1}'}, 400, "the value of a label is a string"),
        ({"match": '{job=~".*"}'}, 400, "no empty label"),
        ({"match": '{job=~"("}'}, 400, "match: "),
        ({"metric": "many", "step": "5m"}, 400, "'step' is no parameter"),
        ({"metric": "many", "from": "yesterday"}, 400, "from is not a time"),
        ({"metric": "many", "from": "2026-03-03"}, 400, "from is after to"),
        ({"metric": "many", "format": "xlsx"}, 406, "csv, ndjson, parquet"),
        ({"metric": "a\0b"}, 400, "NUL"),
    ],
)
async def test_what_cannot_be_is_one_line(
    api: Client, query: dict[str, str], status: int, words: str
) -> None:
    answer = await export(api, **query)
    assert answer.status == status
    assert words in answer.json["message"]


async def test_a_parameter_that_is_given_twice_is_refused(api: Client) -> None:
    answer = await export(api, ("metric", "b"), metric="a")
    assert (answer.status, answer.json["message"]) == (400, "metric is given twice")


async def test_head_accept_compression_and_methods(api: Client) -> None:
    path = f"/export?{urlencode({**DAY, 'metric': 'many'})}"
    head = await api.request("HEAD", path, headers={"Accept": "application/x-ndjson;q=1, */*"})
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"].startswith("application/x-ndjson")
    plain = await api.request("GET", path)
    packed = await api.request("GET", path, headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == plain.body
    assert (await api.request("POST", path)).status == 405


async def test_an_hour_before_now_is_what_nobody_names(api: Client) -> None:
    answer = await api.request("GET", "/export?metric=many")
    assert (answer.status, answer.text) == (200, "timestamp,value,metric,schema,job,zone\n")


async def test_limits_of_series_exports_and_time(filled_db: Database) -> None:
    async with running_api(filled_db, query=QuerySettings(max_series=2)) as small:
        refused = await export(small, metric="many")
        assert (refused.status, refused.json["code"]) == (400, "PGRST100")
        assert "query.max_series" in refused.json["message"]
        assert (await export(small, metric="odd")).status == 200
    async with running_api(filled_db, statement_timeout_seconds=1e-9) as hasty:
        refused = await export(hasty, metric="many", match='{job=~"(a|b|j)*.{0,200}x?"}')
        assert refused.status == 400
        assert "simpler matchers" in refused.json["message"]
    async with running_api(filled_db, max_exports=1) as single:
        reader, writer = await asyncio.open_connection(*single.url[7:].split(":"))
        release = asyncio.Event()
        server_side = exporting._slice

        async def held(*arguments: Any) -> Any:
            await release.wait()
            return await server_side(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exporting, "_slice", held)
            query = urlencode({**DAY, "metric": "odd"})
            writer.write(f"GET /export?{query} HTTP/1.0\r\n\r\n".encode())
            refused = await export(single, metric="many")
            while refused.status != 503:  # until the first one is under way
                refused = await export(single, metric="nothing")
            assert refused.json["details"] == "The limit is api.max_exports"
            release.set()
            assert b"Infinity" in await reader.read()
        writer.close()
        assert (await export(single, metric="many")).status == 200


async def command(api: Client, *arguments: str, name: str = "export") -> Program:
    """`promgres export` with these arguments, or another command."""
    environment = {"PROMGRES_READ_URL": api.url}
    return await asyncio.to_thread(run, PROMGRES, name, *arguments, env=environment)


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


async def test_a_terminal_gets_the_same_and_files_are_whole(api: Client, tmp_path: Path) -> None:
    period = ["--from", DAY["from"], "--to", DAY["to"]]
    done = await command(api, "many", "--match", '{job="j1"}', *period)
    assert done.process.returncode == 0, done.stderr
    assert done.stdout == (await export(api, metric="many", match='{job="j1"}')).text
    file = tmp_path / "odd.parquet"
    done = await command(api, "odd", "--output", str(file), *period)
    assert done.process.returncode == 0, done.stderr
    assert pq.read_table(file).num_rows == len(VALUES) + 1
    assert names(tmp_path) == ["odd.parquet"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["many", "--from", "yesterday"], "from is not a time"),
        ([], "metric is missing"),
        (["many", "--key", "pmk_nobody"], "401|API key"),
        (["many", "--url", "http://127.0.0.1:1"], "Connect"),
        (["many", "--output", "/no/such/folder/x.csv"], "/no/such/folder"),
    ],
)
async def test_what_is_wrong_with_a_command_is_one_line(
    api: Client, arguments: list[str], words: str
) -> None:
    done = await command(api, *arguments)
    assert done.process.returncode == 2
    assert done.stderr.startswith("promgres: ")
    assert re.search(words, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


async def test_an_export_that_is_cut_leaves_no_file(
    api: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a database that dies between two slices, say."""
    monkeypatch.setattr(exporting, "SLICE_SAMPLES", 40)
    served = count()
    server_side = exporting._slice

    async def dying(*arguments: Any) -> Any:
        if next(served) > 10:
            raise DatabaseAway(broke=True)
        return await server_side(*arguments)

    monkeypatch.setattr(exporting, "_slice", dying)
    file = str(tmp_path / "many.csv")
    done = await command(api, "many", "--from", DAY["from"], "--to", DAY["to"], "--output", file)
    assert done.process.returncode == 2
    assert "before it was complete" in done.stderr
    assert names(tmp_path) == []


async def test_a_metric_in_a_terminal(api: Client) -> None:
    """`promgres query`: what `api.query_metric` says, as a table, CSV, lines of JSON, a plot."""
    hour = ["many", "--from", "2026-03-01", "--to", "2026-03-01T00:04:00", "--step", "1m"]
    csv_of = ["--format", "csv", "--aggregate", "max", "--by", "job"]
    done = await command(api, *hour, *csv_of, name="query")
    assert done.process.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    found = {(row["time"], row["job"]): row["value"] for row in rows}
    assert len(found) == 9
    assert found["2026-03-01T00:03:00Z", "j1"] == "15"
    done = await command(api, 'many{job="j2"}', *hour[1:], "--json", name="query")
    assert [json.loads(line)["value"] for line in done.stdout.splitlines()] == ["5.1"]
    done = await command(api, *hour, name="query")
    assert "2026-03-01 00:00:00" in done.stdout
    done = await command(api, *hour, "--format", "plot", name="query")
    assert done.process.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (['many{job=~"j.*"}'], "--promql"),
        (['{job="j1"}'], "names no metric"),
        (["many", "--aggregate", "median"], "median|p_aggregate|aggregate"),
        (["many", "--name", "x"], "--name: only with"),
        (["measures", "--aggregate", "sum"], "only with a metric"),
        ([], "say what to print"),
    ],
)
async def test_what_is_wrong_with_a_query_is_one_line(
    api: Client, arguments: list[str], words: str
) -> None:
    done = await command(api, *arguments, name="query")
    assert done.process.returncode == 2
    assert re.search(words, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


async def test_memory_does_not_grow_with_the_answer(postgres_db: Database) -> None:
    """A process by itself: its peak, as Linux keeps it, over an export of 200,000 samples."""
    async with samples_of(postgres_db) as samples:
        series_id = await samples.series("long")
        for start in range(0, 200_000, 50_000):
            await samples.copy(
                [
                    (START + timedelta(seconds=start + n), series_id, n / 7, None)
                    for n in range(50_000)
                ]
            )
    with read_side(postgres_db) as side:
        path = "/export?metric=long&from=2026-03-01&to=2026-03-05"
        status = Path(f"/proc/{side.program.pid}/status")
        assert get(f"{side.url}/export?metric=long")[0] == 200
        before = memory_kib(status, "VmRSS")
        code, text = await asyncio.to_thread(get, f"{side.url}{path}", seconds=60)
        assert (code, text.count("\n")) == (200, 200_001)
        assert memory_kib(status, "VmHWM") - before < 100 * 1024


def memory_kib(status: Path, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    if found is None:
        pytest.skip("no /proc")
    return int(found[1])
