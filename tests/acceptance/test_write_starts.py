"""Start timestamps of remote write 2.0 in the database."""

from __future__ import annotations

import time

from ingest.wire.pb import remote_write_v2_pb2 as pb
from tests.support.databases import Database, blocking, connect
from tests.support.messages import HEADERS_V2, Symbols, request
from tests.support.remote_write import send, snappy, write_side

PAIRS = [("__name__", "requests_total"), ("job", "web")]


async def stored(database: Database) -> list[int]:
    async with connect(database) as connection:
        rows = await connection.fetch(
            "SELECT (extract(epoch FROM start_time) * 1000)::bigint AS start_ms"
            " FROM internal.series_start JOIN internal.series USING (series_id)"
            " WHERE name = 'requests_total' ORDER BY 1"
        )
    return [row["start_ms"] for row in rows]


def test_every_start_is_kept_once(engine_db: Database) -> None:
    """New series, known series, by the fast path, and after a restart."""
    now_ms = time.time_ns() // 1_000_000
    first_ms, second_ms = now_ms - 60_000, now_ms - 30_000

    def write(url: str, number: int, start_ms: int) -> None:
        symbols = Symbols()
        sample = pb.Sample(value=number, timestamp=now_ms + number, start_timestamp=start_ms)
        series = pb.TimeSeries(labels_refs=symbols.refs(PAIRS), samples=[sample])
        answer = send(url, snappy(request(symbols, [series])), HEADERS_V2)
        assert answer.status == 204, answer.text

    with write_side(engine_db) as side:
        for number, start_ms in enumerate([first_ms] * 4 + [second_ms] * 3 + [0]):
            write(side.url, number, start_ms)
    with write_side(engine_db) as side:
        write(side.url, 8, first_ms)
    assert blocking(stored(engine_db)) == [first_ms, second_ms]
