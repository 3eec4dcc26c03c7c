"""The database goes back in time under a running write side: no sample lands in a wrong series."""

from __future__ import annotations

import time

from tests.support.databases import Database, connect, execute
from tests.support.messages import series
from tests.support.postgres import Cluster
from tests.support.remote_write import write_side

NOW_MS = time.time_ns() // 1_000_000
NEWCOMER = """
SELECT internal.resolve_series(
    ARRAY[decode(repeat('ab', 16), 'hex')], ARRAY[1], ARRAY['internal'], ARRAY['newcomer'],
    ARRAY['common'], ARRAY['{"__name__": "newcomer"}'])
"""
STORED = """
SELECT name, count(*) FROM internal.sample JOIN internal.series USING (series_id)
GROUP BY name ORDER BY name
"""


async def test_a_restored_backup_gives_the_newest_ids_to_others(
    postgres_db: Database, cluster: Cluster
) -> None:
    name = postgres_db.url.partition("?")[0].rpartition("/")[2]
    admin = cluster.url("postgres")
    with write_side(postgres_db) as side:
        assert side.write(series({"name": "old"}, (NOW_MS, 1.0))).status == 204
        await execute(
            admin,
            *hang_up(name),
            f"CREATE DATABASE backup_{name} TEMPLATE {name}",
            f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
        )
        assert side.write(series({"name": "lost"}, (NOW_MS, 1.0))).status == 204
        await execute(
            admin,
            f"DROP DATABASE {name} WITH (FORCE)",
            f"ALTER DATABASE backup_{name} RENAME TO {name}",
        )
        async with connect(postgres_db) as connection:
            await connection.execute(NEWCOMER)  # takes the id that `lost` had
        for step in range(1, 4):
            request = [series({"name": one}, (NOW_MS + step, 1.0)) for one in ("old", "lost")]
            assert side.write(*request).status == 204
        await drained(postgres_db, {"old": 4, "lost": 3})


def hang_up(name: str) -> tuple[str, str]:
    """Nobody may be connected to a template, or come back while it is copied."""
    return (
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'",
    )


async def drained(database: Database, expected: dict[str, int]) -> None:
    """Wait until the spool is written back; then all is where it belongs."""
    deadline = time.monotonic() + 30
    found: dict[str, int] = {}
    while found != expected and time.monotonic() < deadline:
        async with connect(database) as connection:
            found = dict(await connection.fetch(STORED))  # type: ignore[arg-type]
            await connection.execute("SELECT pg_sleep(0.1)")
    assert found == expected
