"""The embedded database's backup, as docs/how-to/operations.md names it: a base backup while it is
written to, and the spool beside it, become a data directory again."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from ingest.storage.embedded import find_psql
from tests.support.processes import run, wait_until
from tests.support.up import Sides, Up, newest_values, psql, write_sample

pytestmark = pytest.mark.timeout(300)

SAMPLES = "SELECT count(*) FROM internal.sample JOIN internal.series USING (series_id)"


class Writing:
    """Samples, one after the other, until the end of the block; all of them are acknowledged."""

    def __init__(self, sides: Sides) -> None:
        self.acknowledged = 0
        self._sides = sides
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._end.wait(0.02):  # else it takes the backup's processor
            assert write_sample(self._sides, f"s{self.acknowledged}", 1) == 204
            self.acknowledged += 1


def test_a_base_backup_under_writes_becomes_a_database(place: Path) -> None:
    data_dir, restored = place / "data", place / "restored"
    socket_dir = data_dir / "postgres" / "socket"
    cluster = restored / "postgres" / "data"
    with Up(data_dir) as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "kept", 7) == 204
        (restored / "postgres").mkdir(parents=True)
        with Writing(sides) as writing:
            wait_until(lambda: writing.acknowledged > 20)
            before = writing.acknowledged
            done = run(
                find_psql().with_name("pg_basebackup"), f"--host={socket_dir}",
                "--username=postgres", f"--pgdata={cluster}", "--checkpoint=fast",
            )  # fmt: skip
            after = writing.acknowledged + 1  # one may be under way
        assert done.process.returncode == 0, done.output
        of_kept = psql(data_dir, f"{SAMPLES} WHERE name = 'kept'")
        owner = (data_dir / "postgres" / "data").stat()
        assert up.stop() == 0
    shutil.copytree(data_dir / "spool", restored / "spool")
    if os.geteuid() == 0:
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    with Up(restored) as up:
        sides = up.wait_until_ready()
        assert before <= int(psql(restored, f"{SAMPLES} WHERE name LIKE 's%'")) <= after
        assert psql(restored, f"{SAMPLES} WHERE name = 'kept'") == of_kept == "1"
        assert newest_values(sides)["kept"] == "7"
        assert write_sample(sides, "goes_on", 8) == 204
        assert up.stop() == 0


def test_replication_is_the_owner_s_alone(place: Path) -> None:
    """Whoever takes a base backup has everything."""
    with Up(place / "data") as up:
        up.wait_until_ready()
        asked = {}
        for login in ("postgres", "promgres_ingest", "promgres_api", "promgres_reader"):
            host = place / "data" / "postgres" / "socket"
            url = f"postgresql://{login}@/?host={host}&replication=true"
            asked[login] = run(find_psql(), url, "-X", "-c", "IDENTIFY_SYSTEM")
        assert {login for login, done in asked.items() if not done.process.returncode} == {
            "postgres"
        }
        assert "pg_hba" not in asked["promgres_reader"].stderr
        assert up.stop() == 0
