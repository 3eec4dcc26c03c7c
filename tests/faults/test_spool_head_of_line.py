"""A spooled request that the database fails at, for no good reason, holds up no other."""

from __future__ import annotations

import time

from tests.support.databases import Database, connect
from tests.support.messages import series
from tests.support.metrics import Metrics
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, write_side

NOW_MS = time.time_ns() // 1_000_000
BROKEN = """
CREATE FUNCTION internal.breaks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.value = 13 THEN
        RAISE EXCEPTION 'nobody has judged this error' USING ERRCODE = 'XX001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER breaks BEFORE INSERT ON internal.hot
FOR EACH ROW EXECUTE FUNCTION internal.breaks();
"""
VALUES = "SELECT array_agg(value ORDER BY value) FROM internal.sample"


async def test_others_are_written_back_around_it(postgres_db: Database) -> None:
    async with connect(postgres_db) as connection:
        await connection.execute(BROKEN)
        with write_side(postgres_db) as side:
            for value in (13.0, 1.0, 2.0, 3.0):
                sample = (NOW_MS + int(value), value)
                assert side.write(series({"name": "m"}, sample)).status == 204
            wait_until(lambda: requests_spooled(side) == 1)
            assert await connection.fetchval(VALUES) == [1.0, 2.0, 3.0]
            await connection.execute("DROP TRIGGER breaks ON internal.hot")
            wait_until(lambda: requests_spooled(side) == 0)
            assert await connection.fetchval(VALUES) == [1.0, 2.0, 3.0, 13.0]
            Metrics(side.address).assert_balanced()


def requests_spooled(side: WriteSide) -> float:
    return Metrics(side.address).value("promgres_spool_requests")
