"""A copy of the disk, or a standby that was behind, takes the place of the database under a running
write side: what it remembers of series and samples since then means nothing. No sample is
misplaced, and what is sent again is stored again.

The copy has the same cluster, OIDs and rows; of the standby only the timeline is another. A dump
that is restored into a new database has the same marks.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ingest.migrate import migrate
from tests.faults.test_database_restored import STORED
from tests.support.databases import Database, blocking, connect, execute
from tests.support.messages import series
from tests.support.metrics import Metrics
from tests.support.postgres import UNSAFE_BUT_QUICK, Cluster, Home, make_home, program
from tests.support.processes import wait_until
from tests.support.remote_write import WriteSide, write_side

NOW_MS = time.time_ns() // 1_000_000
LATE_MS = NOW_MS // 60_000 * 60_000 - 2 * 3_600_000
ROLLED_UP = "SELECT sum(samples)::int FROM internal.rollup_1d WHERE name = 'late'"


def stop(cluster: Cluster) -> None:
    """As asked: with a checkpoint, and hanging up on everybody."""
    cluster.process.send_signal(signal.SIGINT)
    cluster.process.wait(60)


def copied(home: Home, source: Path, copy: Path) -> None:
    """A data directory, its owners included."""
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(copy)], check=True)
    assert home.data.parent.exists()


def send(side: WriteSide, step: int, *names: str) -> None:
    """A sample of each, until it is taken, from two senders."""
    request = [series({"name": name}, (NOW_MS + step, 1.0)) for name in names]
    for _ in range(2):
        wait_until(lambda: side.write(*request).status == 204)


def send_late(side: WriteSide, step: int) -> None:
    """Two samples of one minute, two hours ago."""
    samples = [(LATE_MS + step + n, 1.0) for n in range(2)]
    wait_until(lambda: side.write(series({"name": "late"}, *samples)).status == 204)


@pytest.mark.parametrize("by", ["a copy of the disk", "a standby", "a dump"])
def test_an_older_database_takes_its_place(by: str) -> None:
    home = make_home({**UNSAFE_BUT_QUICK, "wal_level": "replica"})
    backup = home.directory / "backup"
    cluster = home.launch()
    try:
        blocking(execute(cluster.url("postgres"), "CREATE DATABASE metrics"))
        database = Database(cluster.url("metrics"), "postgres")
        blocking(migrate(database.url, database.settings()))
        with write_side(database, PROMGRES_SPOOL__AFTER="0.5") as side:
            send(side, 1, "early")
            send_late(side, 0)
            wait_until(lambda: rolled_up(database) == 2)
            blocking(execute(database.url, "SELECT internal.rollup_work('24 hours', 'infinity')"))
            if by == "a dump":
                dump = tool("pg_dump", "--format=custom", database.url)
            else:
                stop(cluster)
                copied(home, home.data, backup)
                cluster = home.launch()
            send(side, 2, "lost_a", "early")
            send_late(side, 2)  # whose mark is remembered
            wait_until(lambda: stored(database) == {"early": 2, "late": 4, "lost_a": 1})
            wait_until(lambda: remembered(side) > 0)
            if by == "a dump":
                again = ["DROP DATABASE metrics WITH (FORCE)", "CREATE DATABASE metrics"]
                blocking(execute(cluster.url("postgres"), *again))
                tool("pg_restore", f"--dbname={database.url}", given=dump)
            else:
                stop(cluster)
                copied(home, backup, home.data)
                if by == "a standby":
                    (home.data / "standby.signal").touch()
                cluster = home.launch()
            if by == "a standby":
                blocking(execute(cluster.url("postgres"), "SELECT pg_promote()"))
            for name in ("others_a", "others_b"):  # take the ids that are free again
                with write_side(database) as newcomer:
                    send(newcomer, 3, name)
            for step in (4, 6):
                send_late(side, step)
            wait_until(lambda: rolled_up(database) == 6)  # not that the mark is still there
            for step in (2, 4, 5, 6):  # of step 2 nothing is there any more
                send(side, step, "early", "lost_a")
            wanted = {"early": 5, "late": 6, "lost_a": 4, "others_a": 1, "others_b": 1}
            wait_until(lambda: stored(database) == wanted, what=str(stored(database)))
    finally:
        cluster.stop()


def remembered(side: WriteSide) -> float:
    """Samples that were not sent to the database, being known to be stored."""
    return Metrics(side.address).value("promgres_samples_remembered_total", target="internal")


def tool(name: str, *arguments: str, given: bytes | None = None) -> bytes:
    """What a program of PostgreSQL writes."""
    done = subprocess.run([program(name), *arguments], input=given, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rolled_up(database: Database) -> int | None:
    async def ask() -> int | None:
        async with connect(database) as connection:
            counted: int | None = await connection.fetchval(ROLLED_UP)
            return counted

    return blocking(ask())


def stored(database: Database) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        async with connect(database) as connection:
            return dict(await connection.fetch(STORED))  # type: ignore[arg-type]

    return blocking(ask())
