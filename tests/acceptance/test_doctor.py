"""`promgres doctor` and `promgres spool` as an operator runs them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Database, connect, execute
from tests.support.doctoring import FRESH_JOBS
from tests.support.messages import series
from tests.support.processes import (
    PROMGRES,
    Program,
    can_run_promgres,
    free_port,
    public_directory,
    run,
    wait_until,
)
from tests.support.remote_write import WriteSide, write_side
from tests.support.up import Up, one_line, psql, write_sample

pytestmark = pytest.mark.timeout(180)

ALL_CHECKS = [
    "database", "login", "engine", "packs", "migrations", "objects", "roles", "grants",
    "read login", "keys", "durability", "rollups", "partitions", "blocks", "histograms", "minutes",
    "hours", "staging", "retention", "indexes", "series", "transactions", "vacuum", "connections",
    "clock", "spool", "disk", "write side", "accounts", "read side", "open doors",
]  # fmt: skip
"""Of engine postgres with both sides running, in the order of the table."""


@dataclass(frozen=True)
class Place:
    """A running `promgres up`, and the flags that name it."""

    data_dir: Path
    up: Up
    flags: tuple[str, ...]

    def doctor(self, *arguments: str) -> Program:
        return run(PROMGRES, "doctor", *self.flags, *arguments)

    def spool(self, *arguments: str) -> Program:
        return run(PROMGRES, "spool", *arguments, *self.flags)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with public_directory() as directory, Up(directory / "data") as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "doctored", 1.0) == 204
        listen = ("--listen", sides.write.removeprefix("http://"))
        api_listen = ("--api-listen", sides.read.removeprefix("http://"))
        data_dir = ("--data-dir", str(directory / "data"))
        yield Place(directory / "data", up, (*data_dir, *listen, *api_listen))
        if up.process.poll() is None:
            assert up.stop() == 0, up.output


def lines_of(program: Program, level: str) -> list[str]:
    """Lines of the table that begin with a level."""
    return [line for line in program.stdout.splitlines() if line.startswith(f"{level} ")]


def advice(program: Program) -> list[str]:
    """Commands that the table says to type."""
    found = [line.partition("→ ")[2] for line in program.stdout.splitlines()]
    return [line for line in found if line.startswith("promgres ")]


def type_in(command: str) -> None:
    """What the operator does with it."""
    path = os.pathsep.join([str(PROMGRES.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PATH": path}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def checks_of(program: Program) -> dict[str, dict[str, Any]]:
    """The findings of `--json` by check."""
    return {each["check"]: each for each in json.loads(program.stdout)["checks"]}


def test_help_names_both() -> None:
    words = run(PROMGRES, "--help").stdout
    assert "  doctor " in words
    assert "  spool " in words


def test_all_is_well(place: Place) -> None:
    seen = place.doctor()
    assert seen.process.returncode == 0, seen.output
    assert lines_of(seen, "problem") == []
    assert seen.stderr == ""
    assert seen.stdout.splitlines()[-1].startswith("0 problems, ")


def test_all_is_well_for_machines(place: Place) -> None:
    seen = place.doctor("--json")
    assert seen.process.returncode == 0, seen.output
    document = json.loads(seen.stdout)
    assert document["status"] in ("ok", "warning"), "the disk may be nearly full"
    assert [each["check"] for each in document["checks"]] == ALL_CHECKS
    assert {frozenset(each) for each in document["checks"]} == {
        frozenset({"check", "level", "what", "todo"})
    }


def test_keys_of_the_embedded_database(place: Place) -> None:
    """`promgres key` finds it, as the doctor does."""
    made = run(PROMGRES, "key", "create", "default", *place.flags)
    assert made.stdout.startswith("pmk_"), made.output
    assert "key" in made.stderr


def test_what_it_says_to_type_heals(place: Place) -> None:
    psql(place.data_dir, "GRANT EXECUTE ON FUNCTION api.get_excluded_addresses() TO PUBLIC")
    sick = place.doctor()
    assert sick.process.returncode == 1
    assert len(lines_of(sick, "problem")) == 1
    (command,) = advice(sick)
    assert f"--data-dir {shlex.quote(str(place.data_dir))}" in command
    type_in(command)
    assert place.doctor().process.returncode == 0


def test_a_warning_is_no_failure(place: Place) -> None:
    psql(place.data_dir, "ALTER ROLE ALL SET synchronous_commit = off")
    seen = place.doctor()
    assert seen.process.returncode == 0
    assert any("durability" in line for line in lines_of(seen, "warning"))
    (command,) = (each for each in advice(seen) if "synchronous_commit" in each)
    type_in(command)
    assert not any("durability" in line for line in lines_of(place.doctor(), "warning"))


def test_the_spool_of_a_running_daemon(place: Place) -> None:
    seen = place.spool("status")
    assert seen.process.returncode == 0, seen.output
    assert "requests  0\n" in seen.stdout
    assert place.spool("rejected").process.returncode == 0


def test_a_wrong_setting_is_one_line(place: Place) -> None:
    for command in ("doctor", "spool"):
        words = [command, "status"] if command == "spool" else [command]
        seen = run(PROMGRES, *words, "--listen", "nonsense")
        assert seen.process.returncode == 2
        assert "HOST:PORT" in one_line(seen.stderr)


def test_a_database_that_is_not_there_is_one_line(place: Place) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/metrics"
    seen = place.doctor("--database-url", url)
    assert seen.process.returncode == 2
    assert one_line(seen.stderr).startswith("promgres: cannot connect to the database: ")
    assert "secret" not in seen.output
    assert any("write side" in line for line in lines_of(seen, "ok")), "the rest is still looked at"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_so(place: Place) -> None:
    if not can_run_promgres("nobody"):
        pytest.skip(f"nobody else can run {PROMGRES}")
    seen = run(PROMGRES, "doctor", *place.flags, user="nobody")
    assert seen.process.returncode == 2
    assert "belongs to another user" in one_line(seen.stderr)
    assert "run this as the user of" in seen.stdout
    seen = run(PROMGRES, "spool", "status", *place.flags, user="nobody")
    assert seen.process.returncode == 2
    assert "cannot be read: another user's" in one_line(seen.stderr)


def test_an_end_of_everything(place: Place) -> None:
    """The last test of this `up`: what can be said when nothing runs any more."""
    assert place.up.stop() == 0
    seen = place.doctor("--json")
    assert seen.process.returncode == 2
    assert "start `promgres up`" in one_line(seen.stderr)
    found = checks_of(seen)
    assert [found[name]["level"] for name in ("database", "write side", "read side")] == [
        "problem"
    ] * 3
    assert found["spool"]["what"] == "empty"
    assert place.spool("status").process.returncode == 0


def test_a_database_that_is_not_migrated(empty_postgres_db: Database, tmp_path: Path) -> None:
    env = empty_postgres_db.environment() | {"PROMGRES_DATA_DIR": str(tmp_path)}
    seen = run(PROMGRES, "doctor", "--json", env=env)
    assert seen.process.returncode == 1
    assert checks_of(seen)["migrations"]["todo"] == "promgres migrate up"


async def test_both_engines_under_a_write_side(engine_db: Database, open_path: Path) -> None:
    if engine_db.engine == "timescaledb":
        await execute(engine_db.url, FRESH_JOBS)
    with write_side(engine_db, PROMGRES_DATA_DIR=str(open_path)) as side:
        answer = side.write(series({"name": "m"}, (int(time.time() * 1000), 1.0)))
        assert answer.status == 204
        found = checks_of(_doctor(engine_db, side, open_path))
    problems = {name for name, each in found.items() if each["level"] == "problem"}
    unsafe = {"durability"} if engine_db.engine == "postgres" else set()
    assert problems == unsafe, [found[name] for name in problems]
    assert found["accounts"]["what"] == "add up: 1 sample since its start, 0 unavailable"


async def test_a_database_that_keeps_everybody_waiting(
    postgres_db: Database, open_path: Path
) -> None:
    """Acknowledged samples are seen in the spool, by all who look, until they are written back."""
    environment = {"PROMGRES_DATA_DIR": str(open_path), "PROMGRES_SPOOL__AFTER": "0.2"}
    with write_side(postgres_db, **environment) as side:
        async with connect(postgres_db) as other:
            await other.execute("BEGIN")
            await other.execute("LOCK TABLE internal.sample")
            assert side.write(series({"name": "m"}, (_now_ms(), 1.0))).status == 204
            waiting = _spool(open_path)
            assert (waiting["requests"], waiting["samples"], waiting["rejected"]) == (1, 1, 0)
            assert waiting["bytes"] > 0
            found = checks_of(_doctor(postgres_db, side, open_path))
            assert found["spool"]["what"].startswith("1 request with 1 sample wait")
            assert found["accounts"]["level"] == "ok"
        wait_until(lambda: _spool(open_path)["requests"] == 0, what="written back")
    assert _spool(open_path)["oldest_seconds"] is None


def _now_ms() -> int:
    return int(time.time() * 1000)


def _doctor(database: Database, side: WriteSide, data_dir: Path) -> Program:
    env = database.environment() | {"PROMGRES_DATA_DIR": str(data_dir)}
    return run(PROMGRES, "doctor", "--json", "--listen", side.address, env=env)


def _spool(data_dir: Path) -> dict[str, Any]:
    seen = run(PROMGRES, "spool", "status", "--json", "--data-dir", str(data_dir))
    assert seen.process.returncode == 0, seen.output
    found: dict[str, Any] = json.loads(seen.stdout)
    return found
