"""One disk for the database, the spool and the log of `promgres up`; it fills under load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.crowd import Crowd, assert_stored
from tests.support.databases import Database
from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, get, kill_all, processes_of, wait_until
from tests.support.small_disk import small_disk
from tests.support.up import Up

pytestmark = pytest.mark.timeout(420)

SEED = 20261127
MIB = 1024 * 1024
SETTINGS = {
    "PROMGRES_SPOOL__AFTER": "1",
    "PROMGRES_LOG_FORMAT": "json",
    "PROMGRES_RESERVE_BYTES": str(16 * MIB),
}
LOGGING_TO = 'exec "$0" "$@" 2>>"$LOG"'


def database_of(data_dir: Path) -> Database:
    """The embedded database, for the test itself."""
    socket_dir = data_dir / "postgres" / "socket"
    return Database(f"postgresql://postgres@/postgres?host={socket_dir}&port=5432", "postgres")


def test_writes_go_on_once_there_is_room_again() -> None:
    """Without a restart of ours, whatever became of the database; nothing acknowledged is lost."""
    with small_disk(240) as disk:
        data_dir, log = disk.path / "data", disk.path / "log"
        program = ("sh", "-c", LOGGING_TO, PROMGRES)
        try:
            with Up(data_dir, program=program, env={**SETTINGS, "LOG": str(log)}) as up:
                address = urlsplit(up.wait_until_ready(180).write).netloc
                writer = up.child("ingest").pid
                with Crowd(f"http://{address}/api/v1/write", SEED) as crowd:
                    crowd.wait_for_acknowledged(20)

                    def is_full() -> bool:
                        disk.fill()  # what somebody gives back, too
                        given_up = not (data_dir / "reserve").exists()
                        return given_up and crowd.statuses[503] >= 20

                    wait_until(is_full, 120, "nothing can be written any more")
                    wait_until_answered(address, 503, disk.fill)
                    disk.make_room()
                    crowd.wait_for_acknowledged(50, 120)
                    wait_until_answered(address, 200)
                    crowd.pause()
                assert up.child("ingest").pid == writer
                wait_until(lambda: Metrics(address).at_rest, 120, "the spool is empty")
                Metrics(address).assert_balanced()
                assert_stored(database_of(data_dir), crowd.requests)
                assert set(crowd.statuses) <= {204, 503}
                wait_until((data_dir / "reserve").exists, what="the reserve is made again")
                assert "its reserve is given up" in log.read_text(errors="replace")
        finally:
            kill_all(processes_of(disk.path))


def wait_until_answered(
    address: str, status: int, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Until `/-/ready` says so."""

    def is_said() -> bool:
        meanwhile()
        return get(f"http://{address}/-/ready")[0] == status

    wait_until(is_said, 60, f"ready says {status}")
