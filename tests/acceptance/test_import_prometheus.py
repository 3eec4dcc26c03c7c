"""`promgres import prometheus` and `dump`: a real Prometheus, and what promtool writes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.model import STALE_MARKER_BITS
from tests.support.databases import Database, blocking, connect
from tests.support.messages import double, payload, series
from tests.support.processes import PROMGRES, Program, free_port, get, run, wait_until
from tests.support.remote_write import send, snappy

STEP_MS, STEPS = 15_000, 400
SUPPLY = "manifest_tokenomics_total_supply"
ROWS = """
SELECT labels ->> '__name__', labels - '__name__' AS labels,
    (extract(epoch FROM time) * 1000)::bigint,
    CASE WHEN value = 'NaN' THEN NULL ELSE value END, exact::text
FROM (
    SELECT * FROM internal.sample UNION ALL SELECT * FROM cumsum.sample
    UNION ALL SELECT * FROM geo.sample
) AS x JOIN internal.series USING (series_id)
ORDER BY 1, 2, 3
"""


class Source:
    """A Prometheus that has taken samples by remote write.

    Attributes:
        samples: how many it has; the last one of `ended` is a stale marker.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "prometheus"
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "prometheus.yml").write_text("scrape_configs: []\n")
        self.program = Program(
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={self.data}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--web.enable-remote-write-receiver",
            *options,
        )
        wait_until(lambda: get(f"{self.url}/-/ready")[0] == 200)
        now_ms = time.time_ns() // 1_000_000 // STEP_MS * STEP_MS
        times = [now_ms - (STEPS - n) * STEP_MS for n in range(STEPS)]
        sent = [
            series({"__name__": "Up", "job": f"j{n}"}, *[(t, t % 7 + n / 10) for t in times])
            for n in range(20)
        ]
        sent.append(series({"__name__": "web_requests"}, *[(t, 60.0) for t in times]))
        sent.append(
            series(
                {"__name__": SUPPLY, "manifest_tier": "mainnet", "supply": "98765432109876543210"},
                *[(t, 1.0) for t in times[:10]],
            )
        )
        odd = {"__name__": "odd", "text": 'a"b\\c\nd } é\t\x07'}
        sent.append(series(odd, (times[0], math.inf), (times[1], -0.0), (times[2], 1e-300)))
        stale = double(STALE_MARKER_BITS)
        sent.append(series({"__name__": "ended"}, (times[0], 2.5), (times[1], stale)))
        answer = send(f"{self.url}/api/v1/write", snappy(payload(*sent)))
        assert answer.status == 204, answer.text
        self.samples = 21 * STEPS + 10 + 3 + 2


@pytest.fixture
def source(place: Path) -> Iterator[Source]:
    started = Source(place)
    with started.program:
        yield started


def imported(database: Database, *options: str, seconds: float = 120) -> str:
    program = run(PROMGRES, "import", *options, env=database.environment(), seconds=seconds)
    assert program.process.returncode == 0, program.output
    return program.stdout


def stored(database: Database) -> list[tuple[Any, ...]]:
    async def ask() -> list[tuple[Any, ...]]:
        async with connect(database) as connection:
            return [tuple(row) for row in await connection.fetch(ROWS)]

    return blocking(ask())


def check(rows: list[tuple[Any, ...]], samples: int) -> None:
    """They are what the source was given."""
    assert len(rows) == samples
    by_name: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_name.setdefault(row[0], []).append(row)
    assert len(by_name["Up"]) == 20 * STEPS
    assert all(
        value == pytest.approx(at % 7 + int(labels.split('"')[3][1:]) / 10)
        for _, labels, at, value, _ in by_name["Up"]
    )
    assert {(value, exact) for *_, value, exact in by_name[SUPPLY]} == {
        (1.0, "98765432109876543210")
    }
    assert "supply" not in by_name[SUPPLY][0][1]
    assert [value for *_, value, _ in by_name["odd"]] == [math.inf, 0.0, 1e-300]
    assert '"a\\"b\\\\c\\nd } é\\t\\u0007"' in by_name["odd"][0][1]
    ended = by_name["ended"]
    assert [value for *_, value, _ in ended] == [2.5, None]
    assert ended[1][4] == "NaN"  # a stale marker


def test_all_that_a_prometheus_has_by_remote_read(source: Source, engine_db: Database) -> None:
    said = imported(engine_db, "prometheus", "--source", source.url)
    samples = source.samples
    assert f"{samples:,} read, {samples:,} stored, 0 already there, 0 left out" in said
    rows = stored(engine_db)
    check(rows, samples)
    said = imported(engine_db, "prometheus", "--source", source.url)
    assert f"{samples:,} read, 0 stored, {samples:,} already there, 0 left out" in said
    assert stored(engine_db) == rows


def test_selected_series_only(source: Source, postgres_db: Database) -> None:
    said = imported(
        postgres_db, "prometheus", "--source", source.url,
        "--match", 'Up{job=~"j1.*",job!="j11"}', "--match", "web_requests",
    )  # fmt: skip
    assert f"{11 * STEPS:,} read, {11 * STEPS:,} stored" in said


def test_a_server_that_answers_little_at_once_is_asked_for_less(
    place: Path, postgres_db: Database
) -> None:
    source = Source(place, "--storage.remote.read-sample-limit=100")
    with source.program:
        said = imported(postgres_db, "prometheus", "--source", source.url)
    assert f"{source.samples:,} stored" in said


def test_the_dump_of_promtool_says_the_same(
    source: Source, engine_db: Database, place: Path
) -> None:
    source.program.stop()
    text = run("promtool", "tsdb", "dump", str(source.data)).stdout
    dump = place / "dump.txt"
    dump.write_text(text)
    said = imported(engine_db, "dump", str(dump))
    samples = source.samples
    assert f"{samples:,} read, {samples:,} stored, 0 already there, 0 left out" in said
    rows = stored(engine_db)
    check(rows, samples)
    said = imported(engine_db, "dump", str(dump))
    assert f"{samples:,} read, 0 stored, {samples:,} already there, 0 left out" in said
    assert stored(engine_db) == rows


def test_a_dump_goes_on_where_it_was_killed(postgres_db: Database, place: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    dump, lines = place / "dump.txt", 400_000
    dump.write_text(
        "".join(f'{{__name__="m{n // 1000}"}} {n} {now_ms - n * 1000}\n' for n in range(lines))
    )
    with Program(PROMGRES, "import", "dump", str(dump), env=postgres_db.environment()) as program:
        wait_until(lambda: count(postgres_db, "internal.import_progress"), 60)
        program.kill()
    assert count(postgres_db, "internal.import_progress WHERE finished_at IS NULL") == 1
    assert 0 < count(postgres_db, "internal.sample") < lines
    said = imported(postgres_db, "dump", str(dump))
    assert f"{lines:,} read (with those of the run before it)" in said
    assert count(postgres_db, "internal.sample") == lines


def count(database: Database, table: str) -> int:
    async def ask() -> int:
        async with connect(database) as connection:
            number: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
            return number

    return blocking(ask())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--source", "ftp://x"), "--source: must be the root of a server"),
        (("--source", "http://127.0.0.1:1", "--match", "{a"), "is not a label set"),
        (("--source", "http://127.0.0.1:1"), "does not say how long it keeps samples: give --from"),
    ],
)
def test_what_is_wrong_is_one_line(
    postgres_db: Database, options: tuple[str, ...], words: str
) -> None:
    program = run(PROMGRES, "import", "prometheus", *options, env=postgres_db.environment())
    assert_refused(program, words)


def test_a_server_without_remote_read_is_told(source: Source, postgres_db: Database) -> None:
    elsewhere = ("--source", f"{source.url}/elsewhere", "--from", "2026-01-01")
    program = run(PROMGRES, "import", "prometheus", *elsewhere, env=postgres_db.environment())
    assert_refused(program, "/elsewhere/api/v1/read answers 404: is it its root?")


def test_a_line_that_is_none_of_a_dump_is_named(postgres_db: Database, place: Path) -> None:
    dump = place / "dump.txt"
    dump.write_text('{__name__="up"} 1 1700000000000\nup 1 2\n')
    program = run(PROMGRES, "import", "dump", str(dump), env=postgres_db.environment())
    assert_refused(program, "byte 32: 'up 1 2' is no line of `promtool tsdb dump`")


def assert_refused(program: Program, words: str) -> None:
    assert program.process.returncode == 2, program.output
    assert program.stderr.count("\n") == 1, program.output
    assert program.stderr.startswith("promgres: ")
    assert words in program.stderr
