"""What a receiver says: success, refusal and trouble, in the words and headers of each version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import cramjam
import pytest

from tests.acceptance.cases import (
    HEADERS,
    VERSIONS,
    assert_answer,
    own_name,
    post,
    written_of,
)
from tests.acceptance.cases_data import NOW, STALE
from tests.acceptance.cases_histograms import floats
from tests.acceptance.stored import expected, stored
from tests.support.databases import Database, execute
from tests.support.messages import (
    OWN,
    Sent,
    SentExemplar,
    SentMetadata,
    counts,
    encode,
    sent_series,
)
from tests.support.metrics import Metrics
from tests.support.postgres import Cluster
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, send, snappy, write_side
from tests.support.series_bytes import field

pytestmark = pytest.mark.parametrize("version", VERSIONS, ids=["1.0", "2.0"])

EVERYTHING = [
    sent_series((NOW, 1.0), (NOW + 1, 2.0), a="b"),
    Sent(
        (("__name__", OWN), ("i", "1")),
        [(NOW, STALE)],
        exemplars=[SentExemplar(NOW, 0.5, (("trace_id", "t"),))],
        metadata=SentMetadata(1, "Help.", "s"),
    ),
    Sent((("__name__", OWN), ("i", "2")), histograms=[floats()]),
]
"""One request of everything."""

FRAMED = bytes(cramjam.snappy.compress(encode(1, [sent_series((NOW, 1.0))])))
CORRUPT = {
    "no body": b"",
    "not a snappy block": b"\xff" * 30,
    "framed snappy MUST NOT be used": FRAMED,
    "a snappy block cut short": snappy(encode(1, [sent_series((NOW, 1.0), a="x" * 500)]))[:-7],
    "a snappy block with bytes to spare": snappy(b"\x0a\x03abc") + b"abc",
    "a snappy block that claims 4 GiB": b"\xff\xff\xff\xff\x0f" + bytes(50),
    "a snappy block that claims 33 MiB": snappy(bytes(33 << 20)),
    "plain protobuf": encode(1, [sent_series((NOW, 1.0))]),
    "snappy of no protobuf": snappy(b"\xff\xff\xff\xff"),
    "snappy of a message cut short": snappy(
        encode(1, [sent_series((NOW, 1.0))])[:-3] + b"\x2a\x7f"
    ),
    "snappy of a group that never ends": snappy(b"\x0b"),
    "a TimeSeries that is no protobuf": snappy(field(1, b"\xff\xff") + field(5, b"\xff\xff")),
}


@pytest.mark.parametrize("body", CORRUPT.values(), ids=CORRUPT)
def test_corrupt_requests_are_exactly_400(
    version: int, body: bytes, shared_write_side: WriteSide
) -> None:
    answer = post(shared_write_side, version, body)
    assert_answer(answer, version, 400, (0, 0, 0))
    assert len(answer.text.splitlines()) == 1


@pytest.mark.parametrize("body", [b"", b"\x28\xb5\x2f\xfd", b"abc", cramjam.zstd.compress(b"a")])
def test_corrupt_zstd_is_exactly_400(
    version: int, body: bytes, shared_write_side: WriteSide
) -> None:
    headers = {**HEADERS[version], "Content-Encoding": "zstd"}
    answer = send(shared_write_side.url, bytes(body), headers)
    assert_answer(answer, version, 400, (0, 0, 0))


def test_a_body_that_is_too_long_is_413(version: int, shared_write_side: WriteSide) -> None:
    answer = post(shared_write_side, version, bytes((32 << 20) + 1))
    assert_answer(answer, version, 413, (0, 0, 0), "33554432 bytes")


async def test_a_chunked_body_is_taken(
    version: int, shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    own = own_name()
    sent = [one.named(own) for one in EVERYTHING]
    body = snappy(encode(version, sent))
    chunked = b"".join(b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body)))
    headers = {**HEADERS[version], "Transfer-Encoding": "chunked"}
    answer = send(shared_write_side.url, chunked + b"0\r\n\r\n", headers)
    assert_answer(answer, version, 204, counts(sent))
    assert await stored(shared_postgres_db, own) == expected(sent)


async def test_what_was_written_before_counts_as_written(
    version: int, shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    """A success of which nothing was written is a failure to Prometheus."""
    own = own_name()
    sent = [one.named(own) for one in EVERYTHING]
    for _ in range(3):
        answer = post(shared_write_side, version, snappy(encode(version, sent)))
        assert_answer(answer, version, 204, counts(sent))
    assert await stored(shared_postgres_db, own) == expected(sent)


async def test_a_partial_write_is_400_as_often_as_it_is_sent(
    version: int, shared_write_side: WriteSide, shared_postgres_db: Database
) -> None:
    own = own_name()
    good = [one.named(own) for one in EVERYTHING]
    bad = Sent((("job", own),), [(NOW, 1.0)], exemplars=[SentExemplar(NOW, 1.0)])
    for _ in range(2):
        answer = post(shared_write_side, version, snappy(encode(version, [bad, *good])))
        refused = "1 of 4 samples, 1 of 2 exemplars refused"
        assert_answer(answer, version, 400, counts(good), refused)
        assert f'{{job="{own}"}}: label __name__ is missing' in answer.text
    assert await stored(shared_postgres_db, own) == expected(good)


def test_reasons_are_counted_and_short_enough_for_a_log(
    version: int, shared_write_side: WriteSide
) -> None:
    sent = [Sent((("job", str(i)),), [(NOW, 1.0)]) for i in range(1000)]
    answer = post(shared_write_side, version, snappy(encode(version, sent)))
    assert_answer(answer, version, 400, (0, 0, 0), "1000 of 1000 samples refused")
    assert "more" in answer.text.splitlines()[-1]


async def test_what_a_rule_drops_counts_as_written(version: int, postgres_db: Database) -> None:
    drop = '[{"match": {"name": "unwanted"}, "drop": true}]'
    sent = [
        Sent((("__name__", "unwanted"),), each.samples, each.histograms, each.exemplars)
        for each in EVERYTHING
    ]
    supply = (("__name__", "manifest_tokenomics_total_supply"), ("supply", "7"))
    stale = Sent(supply, [(NOW, STALE)])
    with write_side(postgres_db, PROMGRES_ROUTE=drop) as side:
        for _ in range(3):
            answer = post(side, version, snappy(encode(version, [*sent, stale])))
            assert_answer(answer, version, 204, counts([*sent, stale]))
    assert await stored(postgres_db, "") == expected([])


async def test_series_beyond_a_limit_are_a_partial_write(
    version: int, postgres_db: Database
) -> None:
    own = own_name()
    exemplar = SentExemplar(NOW, 0.5, (("trace_id", "t"),))
    first, second = [
        Sent((("__name__", own), ("i", i)), [(NOW, 1.0)], [floats()], [exemplar]) for i in "ab"
    ]
    with write_side(postgres_db, PROMGRES_LIMITS__NEW_SERIES_PER_HOUR="1") as side:
        assert post(side, version, snappy(encode(version, [first]))).status == 204
        answer = post(side, version, snappy(encode(version, [first, second])))
        refused = "1 of 2 samples, 1 of 2 histograms, 1 of 2 exemplars refused"
        assert_answer(answer, version, 400, (1, 1, 1), refused)
        metrics = Metrics(side.address)
        metrics.assert_balanced()
        results = ("received", "written", "duplicate", "rejected")
        exemplars = [
            metrics.value("promgres_exemplars_total", tenant="default", result=result)
            for result in results
        ]
        assert exemplars == [3, 1, 1, 1]
    assert await stored(postgres_db, own) == expected([first])


async def test_failed_writes_that_should_be_retried_must_be_5xx(
    version: int, postgres_db: Database, cluster: Cluster
) -> None:
    """And the retry of the whole request MUST be idempotent."""
    own = own_name()
    sent = [one.named(own) for one in EVERYTHING]
    body = snappy(encode(version, sent))
    with write_side(postgres_db, PROMGRES_SPOOL__MAX_BYTES="0") as side:
        async with _away(cluster, postgres_db):
            answer = post(side, version, body)
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert written_of(answer) == ((0, 0, 0) if version == 2 else None)
            assert answer.text.strip()
            assert post(side, version, b"\xff").status == 400, "it will never succeed"
        wait_until(lambda: post(side, version, body).status == 204)
        answer = post(side, version, body)
        assert_answer(answer, version, 204, counts(sent))
    assert await stored(postgres_db, own) == expected(sent)


@asynccontextmanager
async def _away(cluster: Cluster, database: Database) -> AsyncIterator[None]:
    """Nobody can be connected to this database."""
    name, admin = urlsplit(database.url).path[1:], cluster.url("postgres")
    allow = f"ALTER DATABASE {name} ALLOW_CONNECTIONS "
    end = f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"
    await execute(admin, allow + "false", end)
    try:
        yield
    finally:
        await execute(admin, allow + "true")
