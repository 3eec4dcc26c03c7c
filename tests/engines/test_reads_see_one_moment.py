"""All steps of a call see one moment, whatever is stored between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ingest.storage.inspection import inspect
from ingest.storage.read import Lane, ReadDatabase, ReadTransactions
from ingest.storage.turns import Turns
from tests.support.databases import Database, connect
from tests.support.readapi import running_api
from tests.support.sql_samples import Samples, samples_of

ISOLATION = """
CREATE FUNCTION internal.how() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only')
$$;
CREATE FUNCTION api.isolation_read() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
AS $$ SELECT internal.how() $$;
CREATE FUNCTION api.isolation_write() RETURNS text LANGUAGE sql VOLATILE SECURITY DEFINER
AS $$ SELECT internal.how() $$;
GRANT EXECUTE ON FUNCTION api.isolation_read(), api.isolation_write() TO web_anon;
"""

TWO_STEPS = """
CREATE FUNCTION api.two_steps(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (step int, rows bigint, total text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
AS $$
BEGIN
    RETURN QUERY SELECT 1, * FROM internal.answers_now(p_from, p_to);
    PERFORM pg_advisory_xact_lock(4711);
    RETURN QUERY SELECT 2, * FROM internal.answers_now(p_from, p_to);
END
$$;
CREATE FUNCTION internal.answers_now(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (rows bigint, total text) LANGUAGE sql STABLE
AS $$
    SELECT (SELECT count(*) FROM api.get_agg_metric('m', 'common', '1 minute', p_from, p_to)),
        (SELECT max(value)
         FROM api.get_agg_cumsum_metric('c', 'cumsum', '1 hour', p_from, p_to))
$$;
GRANT EXECUTE ON FUNCTION api.two_steps TO web_anon;
"""

WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


async def test_isolation(engine_db: Database) -> None:
    """One moment for who reads; who writes sees what others have committed meanwhile."""
    async with connect(engine_db) as connection:
        await connection.execute(ISOLATION)
    async with running_api(engine_db) as api:
        read, write = "isolation_read", "isolation_write"
        assert (await api.get(read)).json == "repeatable readon"
        assert (await api.post(read)).json == "repeatable readon"
        assert (await api.post(write)).json == "read committedoff"


async def test_isolation_is_not_left_to_the_database(postgres_db: Database) -> None:
    async with connect(postgres_db) as connection:
        await connection.execute(ISOLATION)
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
        )
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with running_api(postgres_db) as api:
        assert (await api.get("isolation_read")).json == "repeatable readon"
        assert (await api.post("isolation_write")).json == "read committedoff"


async def test_isolation_of_other_readers(engine_db: Database) -> None:
    """The catalogue, measures and events on both ports, and the doctor."""
    query = "SELECT current_setting('transaction_isolation')"
    settings = engine_db.settings()
    async with inspect(engine_db.url, settings.database) as inspection:
        assert await inspection.ask(query) == [{"current_setting": "repeatable read"}]
    async with samples_of(engine_db) as samples:
        lane, here = Lane(samples.pool, Turns(1), clean=False), ReadTransactions(10, 10)
        async with here.transaction(lane, {"promgres.tenant_id": "1"}) as connection:
            assert await connection.fetchval(query) == "repeatable read"
    database = ReadDatabase(engine_db.url, settings)
    await database.open()
    try:
        async with database.transaction(database._own, {}) as connection:
            assert await connection.fetchval(query) == "repeatable read"
    finally:
        await database.close()


@pytest.fixture(params=["postgres_db", "native_db"])
def many_backends(request: pytest.FixtureRequest) -> Database:
    """Each engine, with as many backends as connections."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture
async def stored(many_backends: Database) -> AsyncIterator[Samples]:
    """Samples whose rollups are stored when the test says so."""
    async with samples_of(many_backends) as samples:
        if many_backends.engine == "timescaledb":
            await samples.connection.execute(
                "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
            )
        await samples.connection.execute(TWO_STEPS)
        yield samples


async def test_a_refresh_between_two_steps_of_a_call(stored: Samples) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    minute = now - timedelta(minutes=5)
    gauge = await stored.series("m")
    counter = await stored.series("c", "cumsum", "cumsum")
    await stored.copy([(minute, gauge, 1.0, None)])
    await stored.copy([(minute, counter, 7.0, None)], "cumsum")
    async with running_api(stored.database) as api, stored.pool.acquire() as holder:
        for refreshed in range(2):
            await holder.execute("SELECT pg_advisory_lock(4711)")
            period = {"p_from": str(now - timedelta(days=1)), "p_to": str(now + timedelta(days=1))}
            asked = asyncio.create_task(api.get("two_steps", **period))
            await _until_it_waits(holder)
            await stored.settle()
            await holder.execute("SELECT pg_advisory_unlock(4711)")
            answer = (await asked).json
            assert answer == [
                {"step": step, "rows": 1 + refreshed, "total": str(7 + 2 * refreshed)}
                for step in (1, 2)
            ]
            # The second time around, a part is stored and a part is new.
            await stored.copy([(minute + timedelta(minutes=2), gauge, 1.0, None)])
            await stored.copy([(minute + timedelta(minutes=2), counter, 2.0, None)], "cumsum")


async def _until_it_waits(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval(WAITING):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
