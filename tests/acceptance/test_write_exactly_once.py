"""What is sent is stored once, whoever sends it, and never displaced."""

from __future__ import annotations

import math
import struct
import threading
import time

from tests.support.answer import Answer
from tests.support.databases import Database, connect
from tests.support.messages import series
from tests.support.remote_write import WriteSide, write_side

NOW_MS = time.time_ns() // 1_000_000 // 60_000 * 60_000
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


async def test_a_request_sent_twice_is_stored_once(daemon: WriteSide, engine_db: Database) -> None:
    request = [series({"name": "m", "i": str(i)}, (NOW_MS, i), (NOW_MS + 1, i)) for i in range(50)]
    assert [daemon.write(*request).status for _ in range(2)] == [204, 204]
    async with connect(engine_db) as connection:
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 100


async def test_the_first_value_of_a_key_stays(daemon: WriteSide, engine_db: Database) -> None:
    daemon.write(series({"name": "m"}, (NOW_MS, 1.0)))
    assert daemon.write(series({"name": "m"}, (NOW_MS, 2.0))).status == 204
    async with connect(engine_db) as connection:
        assert await connection.fetchval("SELECT value FROM internal.sample") == 1.0


async def test_two_daemons_store_one_stream_once(engine_db: Database) -> None:
    """Both receive the same requests at the same time; series are new to both."""
    answers: list[Answer] = []

    def stream(side: WriteSide) -> None:
        for step in range(10):
            timestamp_ms = NOW_MS - 10_000 + step * 1000
            answers.append(
                side.write(
                    *[
                        series({"name": f"m{step}", "i": str(i)}, (timestamp_ms, i))
                        for i in range(200)
                    ]
                )
            )

    with write_side(engine_db) as first, write_side(engine_db) as second:
        threads = [threading.Thread(target=stream, args=(side,)) for side in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {answer.status for answer in answers} == {204}
    async with connect(engine_db) as connection:
        assert await connection.fetchval("SELECT count(*) FROM internal.series") == 2000
        assert await connection.fetchval("SELECT count(*) FROM internal.sample") == 2000
        assert (
            await connection.fetchval(
                "SELECT count(DISTINCT series_id) FROM internal.sample"
                " JOIN internal.series USING (series_id)"
            )
            == 2000
        )


async def test_a_changing_supply_stays_one_series(daemon: WriteSide, engine_db: Database) -> None:
    """The sender marks the old label set stale at the timestamp of the new value."""
    supply = 987654321098765432101
    previous: dict[str, str] | None = None
    for step in range(5):
        timestamp_ms = NOW_MS - 300_000 + step * 60_000
        labels = {"name": "manifest_tokenomics_total_supply", "supply": str(supply + step)}
        request = [series(labels, (timestamp_ms, 1.0))]
        if previous:
            request.insert(step % 2, series(previous, (timestamp_ms, STALE)))
        assert daemon.write(*request).status == 204
        previous = labels
    async with connect(engine_db) as connection:
        rows = await connection.fetch("SELECT exact::text FROM internal.sample ORDER BY time")
        assert [row["exact"] for row in rows] == [str(supply + step) for step in range(5)]
        assert await connection.fetchval("SELECT count(*) FROM internal.series") == 1


async def test_other_metrics_keep_supply_and_amount_as_labels(
    daemon: WriteSide, engine_db: Database
) -> None:
    daemon.write(
        series({"name": "other", "supply": "1"}, (NOW_MS, 1.0)),
        series({"name": "other", "supply": "2"}, (NOW_MS, 2.0)),
        series({"name": "other", "amount": "2"}, (NOW_MS, 3.0)),
    )
    async with connect(engine_db) as connection:
        assert await connection.fetchval("SELECT count(*) FROM internal.series") == 3
        assert await connection.fetchval("SELECT count(exact) FROM internal.sample") == 0
        assert (
            await connection.fetchval(
                "SELECT count(*) FROM internal.series WHERE labels ? 'supply' OR labels ? 'amount'"
            )
            == 3
        )


async def test_odd_floats_keep_their_bits_and_break_no_aggregate(
    daemon: WriteSide, engine_db: Database
) -> None:
    payload_nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    values = [1e308, 1e308, math.inf, -math.inf, payload_nan, STALE, -0.0, 5e-324]
    answer = daemon.write(
        *[series({"name": "odd", "i": str(i)}, (NOW_MS, v)) for i, v in enumerate(values)]
    )
    assert answer.status == 204
    async with connect(engine_db) as connection:
        rows = await connection.fetch(
            "SELECT float8send(value) AS bits, exact::text FROM internal.sample"
            " JOIN internal.series USING (series_id) ORDER BY labels->>'i'"
        )
        assert [row["bits"] for row in rows] == [struct.pack(">d", value) for value in values]
        assert [row["exact"] for row in rows] == [None] * 5 + ["NaN"] + [None] * 2
        rollup = await connection.fetchrow(
            "SELECT samples, sum, min, max FROM internal.rollup_1m WHERE name = 'odd'"
        )
        assert rollup is not None
        assert (rollup["samples"], rollup["min"], rollup["max"]) == (6, -math.inf, math.inf)
        assert rollup["sum"] > 2 * 10**308 - 1
