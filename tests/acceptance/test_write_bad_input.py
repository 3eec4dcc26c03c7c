"""Bad input: a precise status and reason, nothing stored, the daemon serving on."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import cramjam
import pytest

from tests.support import series_bytes
from tests.support.databases import Database, connect
from tests.support.messages import payload, series
from tests.support.remote_write import HEADERS, WriteSide, send, snappy

NOW_MS = time.time_ns() // 1_000_000
YEAR_20000_MS = 568_971_820_800_000
YEAR_MINUS_5_MS = -62_325_417_600_000
GOOD = series({"name": "good"}, (NOW_MS, 1.0))


def one_series(labels: bytes, timestamp_ms: int = NOW_MS) -> bytes:
    sample = series_bytes.field(
        2, b"\x09" + bytes(7) + b"\x40" + b"\x10" + series_bytes.varint(timestamp_ms)
    )
    return snappy(series_bytes.field(1, labels + sample))


BODIES: dict[str, tuple[bytes | None, int, str]] = {
    "no body": (None, 400, "empty"),
    "random bytes": (bytes(range(7, 200)), 400, "snappy"),
    "snappy that declares 4 GiB": (b"\xff\xff\xff\xff\x0f" + bytes(50), 400, "4294967295 bytes"),
    "snappy of random bytes": (snappy(bytes(range(200, 7, -1))), 400, "protobuf"),
    "no metric name": (one_series(series_bytes.labels(job="a")), 400, "__name__"),
    "duplicate label names": (
        one_series(series_bytes.labels(name="m") + series_bytes.label("a", "1") * 2),
        400,
        'label "a" is there twice',
    ),
    "U+0000 in a label value": (one_series(series_bytes.labels(name="m", a="x\0y")), 400, "U+0000"),
    "invalid UTF-8": (
        one_series(series_bytes.labels(name="m") + series_bytes.label("a", b"\xff\xfe")),
        400,
        "UTF-8",
    ),
    "year 20000": (one_series(series_bytes.labels(name="m"), YEAR_20000_MS), 400, "future"),
    "year -5": (one_series(series_bytes.labels(name="m"), YEAR_MINUS_5_MS), 400, "oldest"),
    "a body of 40 MiB": (os.urandom(1 << 20) * 40, 413, "33554432 bytes"),
}


async def count_samples(database: Database) -> int:
    async with connect(database) as connection:
        return await connection.fetchval("SELECT count(*) FROM internal.sample")


@pytest.mark.parametrize("name", BODIES)
async def test_bad_bodies(
    shared_write_side: WriteSide, shared_postgres_db: Database, name: str
) -> None:
    body, status, reason = BODIES[name]
    before = await count_samples(shared_postgres_db)
    answer = send(shared_write_side.url, body)
    assert answer.status == status, answer.text
    assert reason in answer.text
    assert await count_samples(shared_postgres_db) == before
    another = series({"name": "good", "after": name}, (NOW_MS, 1.0))
    assert shared_write_side.write(another).status == 204
    assert await count_samples(shared_postgres_db) == before + 1


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 405),
        ("PUT", HEADERS, 405),
        ("POST", HEADERS | {"Content-Type": "application/json"}, 415),
        ("POST", HEADERS | {"Content-Encoding": "gzip"}, 415),
        (
            "POST",
            HEADERS
            | {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v3.Request"},
            415,
        ),
    ],
    ids=["GET", "PUT", "JSON", "gzip", "version 3.0"],
)
async def test_bad_headers(
    shared_write_side: WriteSide,
    shared_postgres_db: Database,
    method: str,
    headers: Mapping[str, str],
    status: int,
) -> None:
    before = await count_samples(shared_postgres_db)
    answer = send(shared_write_side.url, snappy(payload(GOOD)), headers, method)
    assert answer.status == status, answer.text
    assert len(answer.text.splitlines()) == 1
    if status == 405:
        assert answer.headers["Allow"] == "POST"
    assert await count_samples(shared_postgres_db) == before


async def test_the_good_ones_beside_a_bad_one_are_stored(
    daemon: WriteSide, engine_db: Database
) -> None:
    bad = series({"job": "nameless"}, (NOW_MS, 1.0), (NOW_MS + 1, 2.0))
    late = series({"name": "late"}, (YEAR_MINUS_5_MS, 1.0), (NOW_MS, 2.0))
    answer = daemon.write(GOOD, bad, late)
    assert answer.status == 400
    assert answer.text.startswith("3 of 5 samples refused, the others are stored:")
    assert "__name__" in answer.text
    assert await count_samples(engine_db) == 2


@pytest.mark.parametrize("path", ["/write", "/api/v1/write", "/api/v1/push"])
async def test_every_endpoint_takes_nothing_and_says_so(
    shared_write_side: WriteSide, path: str
) -> None:
    url = f"http://{shared_write_side.address}{path}"
    assert send(url, snappy(b"")).status == 204
    metadata_only = series_bytes.field(3, series_bytes.field(2, b"m"))
    assert send(url, snappy(metadata_only)).status == 204
    probe = send(url + "?get_vm_proto_version=1", None, {}, "GET")
    assert (probe.status, probe.text) == (200, "1")


async def test_zstd_is_taken_as_the_probe_promises(
    shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    before = await count_samples(shared_postgres_db)
    body = bytes(cramjam.zstd.compress(payload(series({"name": "in_zstd"}, (NOW_MS, 1.0)))))
    assert send(shared_write_side.url, body, HEADERS | {"Content-Encoding": "zstd"}).status == 204
    assert await count_samples(shared_postgres_db) == before + 1
