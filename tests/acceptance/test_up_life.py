"""`promgres up` as its user sees it: it gets ready, comes back, ends, and leaves nothing behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from ingest.migrate import migrate
from ingest.storage.embedded import EmbeddedPostgres, prepare_data_dir
from tests.support.databases import Database, blocking
from tests.support.processes import (
    PROMGRES,
    get,
    is_alive,
    kill_all,
    processes_of,
    public_directory,
    run,
    wait_until,
)
from tests.support.up import (
    Sides,
    Up,
    ask,
    assert_readers_make_way,
    newest_values,
    one_line,
    psql,
    write_sample,
)

pytestmark = pytest.mark.timeout(240)


SECRET = "0123456789-0123456789-0123456789"


@dataclass(frozen=True)
class Running:
    """One `up`, on a data directory in which somebody had a file, for tests that do not harm it."""

    up: Up
    sides: Sides
    data_dir: Path
    theirs: Path
    before: os.stat_result


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with public_directory() as place:
        data_dir = place / "data"
        data_dir.mkdir()
        theirs = data_dir / "notes.txt"
        theirs.write_text("mine")
        theirs.chmod(0o640)
        os.chown(theirs, 12345 if os.geteuid() == 0 else -1, -1)
        with Up(data_dir, "--jwt-secret", SECRET) as up:
            before = theirs.stat()
            yield Running(up, up.wait_until_ready(), data_dir, theirs, before)
            assert up.stop() == 0
        kill_all(processes_of(place))
        assert theirs.stat()[:7] == before[:7], "it is left alone at the end, too"


@pytest.fixture(scope="module")
def _migrated() -> Iterator[Path]:
    """A data directory as an `up` leaves it that nobody wrote to."""

    async def make(data_dir: Path) -> None:
        server = EmbeddedPostgres(data_dir)
        await server.start()
        await migrate(server.url, Database(server.url, "postgres").settings())
        await server.stop()

    with public_directory() as place:
        blocking(make(prepare_data_dir(place / "data")))
        yield place / "data"


@pytest.fixture
def used_dir(_migrated: Path, data_dir: Path) -> Path:
    """A copy of it: what a first start makes, a second of processor, is made in other tests."""
    subprocess.run(["cp", "-a", _migrated, data_dir], check=True)
    return data_dir


def test_it_says_where_it_is_and_what_to_type_next(running: Running) -> None:
    sides, data_dir = running.sides, running.data_dir
    for side in sides:
        assert get(f"{side}/-/ready")[0] == 200
    welcome = running.up.stdout
    assert f"- url: {sides.write}/write" in welcome
    assert f"-remoteWrite.url={sides.write}" in welcome
    assert f"curl '{sides.read}/rpc/get_all_latest_common_metrics'" in welcome
    assert f"psql --data-dir {data_dir}" in welcome
    assert f"host={data_dir}/postgres/socket" in welcome
    assert write_sample(sides, "up_answers", 42.5) == 204
    assert newest_values(sides)["up_answers"] == "42.5"


def test_a_second_one_is_one_clear_line(running: Running) -> None:
    with Up(running.data_dir) as second:
        assert second.wait() == 2
    line = one_line(second.stderr)
    assert str(running.data_dir) in line
    assert f"pid {running.up.pid}" in line
    assert running.up.process.poll() is None
    assert all(get(f"{side}/-/ready")[0] == 200 for side in running.sides)


def test_psql_finds_the_database_while_it_runs(running: Running, used_dir: Path) -> None:
    who = "SELECT current_user || ' ' || current_database()"
    assert psql(running.data_dir, who) == "postgres postgres"
    done = run(PROMGRES, "psql", "--data-dir", used_dir)
    assert done.process.returncode == 2
    assert "promgres up" in one_line(done.stderr)


def test_no_secret_is_in_a_command_line_and_each_side_has_only_its_own(running: Running) -> None:
    ingest, api = running.up.child("ingest"), running.up.child("api")
    for child in (ingest, api):
        assert SECRET not in " ".join(child.cmdline())
    assert "PROMGRES_JWT_SECRET" not in ingest.environ()
    assert api.environ()["PROMGRES_JWT_SECRET"] == SECRET
    assert "PROMGRES_DATABASE_URL" not in api.environ()
    assert "promgres_api@" in api.environ()["PROMGRES_API_DATABASE_URL"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all are alike")
def test_readers_make_way_for_ingestion(running: Running) -> None:
    assert_readers_make_way(running.up, partial(ask, running.data_dir))


def test_what_is_not_ours_in_the_data_directory_is_left_alone(running: Running) -> None:
    assert running.theirs.stat()[:7] == running.before[:7]
    assert running.theirs.read_text() == "mine"


def test_it_ends_cleanly_and_finds_its_data_again(data_dir: Path) -> None:
    """By each signal that asks it to; one life after the other."""
    stored = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with Up(data_dir) as up:
            sides = up.wait_until_ready()
            if stored:
                assert newest_values(sides) == stored
            assert write_sample(sides, number.name.lower(), number) == 204
            stored[number.name.lower()] = str(int(number))
            assert up.stop(number) == 0
        assert processes_of(data_dir) == []
        assert "Traceback" not in up.stderr
    assert server_log(data_dir).count("database system is shut down") == len(stored)
    with Up(data_dir) as up:
        assert newest_values(up.wait_until_ready()) == stored
        assert up.stop() == 0


def test_ctrl_c_in_a_terminal_ends_it_in_order(used_dir: Path) -> None:
    """The terminal sends SIGINT to the whole foreground group; only the parent must heed it."""
    terminal = Terminal("up", "--data-dir", used_dir, "--listen", "127.0.0.1:0",
                        "--api-listen", "127.0.0.1:0")  # fmt: skip
    terminal.read_until("Ctrl-C ends it")
    terminal.type("\x03")
    assert terminal.wait() == 0
    assert processes_of(used_dir) == []
    assert "database system is shut down" in server_log(used_dir)


class Terminal:
    """`promgres` in the foreground of a terminal of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execv(PROMGRES, ["promgres", *map(str, arguments)])
        self.text = ""

    def read_until(self, words: str, seconds: float = 90) -> None:
        """Read the screen until it shows `words`."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            self.text += os.read(self._screen, 4096).decode(errors="replace")

    def type(self, keys: str) -> None:
        """Type on its keyboard."""
        os.write(self._screen, keys.encode())

    def wait(self) -> int:
        """Read to the end; the exit status."""
        try:
            while chunk := os.read(self._screen, 4096):
                self.text += chunk.decode(errors="replace")
        except OSError:  # Linux: the other side is closed
            pass
        os.close(self._screen)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_whatever_is_killed_comes_back(used_dir: Path) -> None:
    with Up(used_dir) as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "before", 1) == 204
        for find in (
            lambda: up.child("ingest"),
            lambda: up.child("api"),
            up.postmaster,
        ):
            killed = find()
            killed.kill()
            wait_until(lambda: not is_alive(killed))  # noqa: B023
            wait_until(lambda: both_are_ready(sides), 60, up.output)
            wait_until(lambda: write_sample(sides, "after", 2) == 204, 60, up.output)
            wait_until(lambda: newest_values(sides) == {"before": "1", "after": "2"})
            assert find().pid != killed.pid
        assert up.stop() == 0
    assert processes_of(used_dir) == []


def test_when_it_is_killed_its_children_end_and_the_next_one_takes_over(used_dir: Path) -> None:
    with Up(used_dir) as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "survives", 3) == 204
        children = [up.child("ingest"), up.child("api")]
        orphan = up.postmaster()
        up.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
    assert orphan.is_running()
    with Up(used_dir) as up:
        assert newest_values(up.wait_until_ready()) == {"survives": "3"}
        assert up.postmaster().pid != orphan.pid
        assert not is_alive(orphan)
        assert up.stop() == 0
    assert processes_of(used_dir) == []


def test_the_next_one_may_come_at_once_and_on_the_same_ports(used_dir: Path) -> None:
    with Up(used_dir) as up:
        sides = up.wait_until_ready()
        up.kill()
    listen = ("--listen", sides.write[7:], "--api-listen", sides.read[7:])
    with Up(used_dir, *listen) as up:
        assert up.wait_until_ready() == sides
        assert up.stop() == 0


def test_killed_amid_everything_it_comes_back(used_dir: Path) -> None:
    """Parent, postmaster and both children at once, as a power cut does."""
    with Up(used_dir) as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "acknowledged", 4) == 204
        kill_all(processes_of(used_dir))
    assert (used_dir / "postgres" / "data" / "postmaster.pid").exists()
    with Up(used_dir) as up:
        assert newest_values(up.wait_until_ready()) == {"acknowledged": "4"}
        assert up.stop() == 0


def both_are_ready(sides: tuple[str, str]) -> bool:
    return all(get(f"{side}/-/ready")[0] == 200 for side in sides)


def server_log(data_dir: Path) -> str:
    logs = sorted((data_dir / "postgres" / "log").iterdir())
    return "".join(log.read_text() for log in logs)
