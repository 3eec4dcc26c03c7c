"""As root: three users, what each may, and what none of them may."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ingest.storage.embedded import find_psql
from ingest.users import SOCKET_GROUP
from tests.support.databases import Database
from tests.support.messages import series
from tests.support.processes import (
    PROMGRES,
    Program,
    public_directory,
    run,
    wait_until,
)
from tests.support.remote_write import write_side
from tests.support.up import Up, newest_values, one_line, psql, write_sample

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root lends its processes other users"),
]

ROOT = Path(__file__).parents[2]
SOURCES = ("ingest", "sql", "client/promgres_client")
Running = tuple[Up, Path]


def status_of(process: psutil.Process) -> dict[str, str]:
    """The kernel's word on a process."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def sides_of(up: Up) -> dict[str, psutil.Process]:
    return {"server": up.postmaster(), "ingest": up.child("ingest"), "api": up.child("api")}


def connects(data_dir: Path, user: str, login: str, group: int = SOCKET_GROUP) -> str:
    """What PostgreSQL's socket says to a user who asks to be let in as a login."""
    url = f"postgresql://{login}@/postgres?host={data_dir}/postgres/socket"
    lent = pwd.getpwnam(user)
    # psql may be out of this user's reach: it becomes the user after it was found and opened.
    words = ["setpriv", f"--reuid={lent.pw_uid}", f"--regid={lent.pw_gid}", f"--groups={group}"]
    done = run(*words, find_psql_of(user), url, "-X", "-A", "-t", "-c", "SELECT session_user")
    return done.stdout.strip() or done.stderr.strip()


def find_psql_of(user: str) -> Path:
    program = find_psql()
    if run(program, "--version", user=user).process.returncode:
        pytest.skip(f"{user} does not reach {program}")
    return program


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One of them with default users, and its data directory, for tests that change neither."""
    with public_directory() as place, Up(place / "data") as up:
        up.wait_until_ready()
        yield up, place / "data"
        assert up.stop() == 0


def test_three_users_who_share_nothing_but_a_group(running: Running) -> None:
    up, data_dir = running
    found = {side: status_of(process) for side, process in sides_of(up).items()}
    users = {side: int(status["Uid"].split()[0]) for side, status in found.items()}
    assert len(set(users.values())) == 3
    for side, status in found.items():
        assert len(set(status["Uid"].split())) == len(set(status["Gid"].split())) == 1
        assert "0" not in status["Uid"].split() + status["Gid"].split(), side
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, side
        assert status["NoNewPrivs"] == "1", side
    assert found["ingest"]["Groups"] == found["api"]["Groups"] == str(SOCKET_GROUP)
    assert str(SOCKET_GROUP) not in found["server"]["Groups"].split()
    socket_dir = (data_dir / "postgres" / "socket").stat()
    assert (socket_dir.st_uid, socket_dir.st_gid) == (users["server"], SOCKET_GROUP)
    assert socket_dir.st_mode & 0o777 == 0o710
    assert (data_dir / "spool").stat().st_uid == users["ingest"]
    assert (data_dir / "spool").stat().st_mode & 0o777 == 0o700
    logins = psql(
        data_dir,
        "SELECT DISTINCT application_name || '=' || usename FROM pg_stat_activity"
        " WHERE application_name IN ('promgres ingest', 'promgres api') ORDER BY 1",
    )
    expected = "promgres api=promgres_api\npromgres ingest=promgres_ingest"
    assert logins == expected
    assert psql(data_dir, "SELECT rolsuper FROM pg_roles WHERE rolname='promgres_ingest'") == "f"
    assert "not separated" not in up.stderr


def test_the_socket_lets_each_in_as_its_own_login_alone(running: Running) -> None:
    up, data_dir = running
    user = {side: process.username() for side, process in sides_of(up).items()}
    assert connects(data_dir, user["ingest"], "promgres_ingest") == "promgres_ingest"
    assert connects(data_dir, user["api"], "promgres_api") == "promgres_api"
    strange = {
        "ingest": ("postgres", "promgres_owner", "promgres_api", "promgres_reader"),
        "api": ("postgres", "promgres_owner", "promgres_ingest", "promgres_reader"),
    }
    for side, logins in strange.items():
        for login in logins:
            said = connects(data_dir, user[side], login)
            assert "Peer authentication failed" in said, (side, login, said)
    # Whoever owns the cluster is everybody, as root is; without the group nobody gets there.
    for login in ("postgres", "promgres_api", "promgres_ingest"):
        assert connects(data_dir, user["server"], login) == login
        assert connects(data_dir, "root", login) == login
    assert "Permission denied" in connects(data_dir, user["ingest"], "promgres_ingest", 1)
    assert "trust" not in (data_dir / "postgres" / "pg_hba.conf").read_text()
    done = run(PROMGRES, "tenant", "create", "shop", "--data-dir", data_dir)
    assert done.process.returncode == 0, done.stderr
    done = run(PROMGRES, "migrate", "status", "--data-dir", data_dir)
    assert "up to date" in done.stdout


def test_each_child_has_only_its_own_secrets(place: Path, data_dir: Path) -> None:
    """In its environment, and in what it can read."""
    config = place / "promgres.toml"
    config.write_text("[database]\npassword = 'in-a-file'\n")
    config.chmod(0o600)
    env: dict[str, str | None] = {
        "PGPASSWORD": "the-owners",
        "PGPASSFILE": "/the-owners/file",
        "PGSERVICE": "the-owners-service",
        "PGSSLKEY": "/the-owners/key",
        "PROMGRES_KEY": "pmk_of_a_client",
        "PROMGRES_API_PASSWORD": "the-readers",
        "PROMGRES_DATABASE__READER_PASSWORD": "the-third",
        "PROMGRES_JWT_SECRET": "the-tokens-" + "0123456789" * 3,
    }
    with Up(data_dir, "--config", str(config), env=env) as up:
        up.wait_until_ready()
        seen = {side: process.environ() for side, process in sides_of(up).items()}
        for side, environment in seen.items():
            assert not [name for name in environment if name.startswith("PG")], side
            text = json.dumps(environment)
            for secret in ("the-owners", "pmk_of_a_client", "the-third"):
                assert secret not in text, side
            assert ("the-tokens" in text) == (side == "api")
            assert ("the-readers" in text) == (side == "api"), side
        assert up.stop() == 0


def test_the_api_of_a_given_database_inherits_nothing_of_the_owner(
    data_dir: Path, empty_postgres_db: Database
) -> None:
    env = {
        **empty_postgres_db.environment(),
        "PGPASSWORD": "the-owners",
        "PGSSLMODE": "prefer",
    }
    with Up(data_dir, env=env) as up:
        up.wait_until_ready()
        ingest, api = up.child("ingest").environ(), up.child("api").environ()
        assert ingest["PGPASSWORD"] == "the-owners"
        assert "PGPASSWORD" not in api
        assert api["PGSSLMODE"] == ingest["PGSSLMODE"] == "prefer"
        assert up.child("ingest").username() != up.child("api").username() != "root"
        assert up.stop() == 0


def test_a_spool_that_root_left_goes_on(data_dir: Path) -> None:
    """The version before ran as root: what it had acknowledged is written back."""
    before = {"PROMGRES_USERS__INGEST": "root", "PROMGRES_SPOOL__AFTER": "0.2"}
    folder = data_dir / "spool"
    with Up(data_dir, env=before) as up:
        sides = up.wait_until_ready()
        with locked_series(data_dir):
            assert write_sample(sides, "left_by_root", 7) == 204
            up.kill()
    assert {file.stat().st_uid for file in folder.glob("spool.*")} == {0}
    kept = data_dir / "root-s-own"
    kept.write_text("kept")
    (folder / "link").symlink_to(kept)
    os.link(kept, folder / "second-name")
    with Up(data_dir) as up:
        sides = up.wait_until_ready()
        wait_until(lambda: newest_values(sides).get("left_by_root") == "7")
        owner = up.child("ingest").uids().real
        assert owner != 0
        assert {file.stat().st_uid for file in folder.glob("spool.*")} == {owner}
        assert up.stop() == 0
    assert kept.stat().st_uid == 0, "a link leads to nobody else's file"
    with Up(data_dir, env={"PROMGRES_USERS__INGEST": "games"}) as up:
        sides = up.wait_until_ready()
        assert up.child("ingest").username() == "games"
        assert write_sample(sides, "another_user", 1) == 204
        assert up.stop() == 0


@contextmanager
def locked_series(data_dir: Path) -> Iterator[None]:
    """Nothing is written to the database meanwhile."""
    lock = ("BEGIN", "LOCK TABLE internal.series", "SELECT 'held'", "SELECT pg_sleep(600)")
    commands = [word for one in lock for word in ("-c", one)]
    url = f"postgresql://postgres@/postgres?host={data_dir}/postgres/socket"
    with Program(find_psql(), url, "-X", "-A", "-t", *commands) as holder:
        holder.wait_for("held")
        yield


def test_low_ports_and_a_child_that_is_killed(data_dir: Path) -> None:
    write, read = (f"127.0.0.1:{port}" for port in low_ports())
    flags = ("--listen", write, "--api-listen", read)
    with Up(data_dir, *flags) as up:
        sides = up.wait_until_ready()
        assert sides == (f"http://{write}", f"http://{read}")
        before = {name: up.child(name) for name in ("ingest", "api")}
        users = {name: process.username() for name, process in before.items()}
        for process in before.values():
            process.kill()
        wait_until(lambda: write_sample(sides, "low", 5) == 204, 60)
        wait_until(lambda: newest_values(sides) == {"low": "5"}, 60)
        assert {name: up.child(name).username() for name in before} == users
        assert "root" not in users.values()
        for name in before:
            bind_low_ports = 1 << 10
            assert int(status_of(up.child(name))["CapPrm"], 16) in {0, bind_low_ports}
        assert up.stop() == 0


def low_ports() -> list[int]:
    """Two ports that only root may bind."""
    found = []
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == 2:
            return found
    pytest.skip("no free port below 1024")


def test_a_clone_that_the_users_cannot_reach(place: Path, data_dir: Path) -> None:
    """All that a side runs is loaded before it stops being root: nothing is imported afterwards."""
    home = place / "home"
    for source in SOURCES:
        shutil.copytree(ROOT / source, home / Path(source).name)
    home.chmod(0o700)
    env: dict[str, str | None] = {
        "PYTHONPATH": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPROFILEIMPORTTIME": "1",
    }
    with Up(data_dir, env=env, cwd=home) as up:
        sides = up.wait_until_ready()
        assert str(home) in up.child("ingest").environ()["PYTHONPATH"]
        loaded = up.stderr.count("import time:")
        assert write_sample(sides, "closed", 6) == 204
        exercise(sides.write, sides.read)
        assert newest_values(sides)["closed"] == "6"
        late = re.findall(r"^import time:.*\|(.*)", up.stderr, re.M)[loaded:]
        assert late == []
        assert up.stop() == 0
    assert "Traceback" not in up.stderr


def exercise(write: str, read: str) -> None:
    """Ask for something of every kind, right and wrong."""
    loads = [("--protocol", "1"), ("--protocol", "2")]
    for protocol in loads:
        done = run(
            PROMGRES, "load", "--url", f"{write}/write", "--rate", "1000", "--duration", "1",
            *protocol, env={"PYTHONPATH": None},
        )  # fmt: skip
        assert done.process.returncode == 0, done.output
    asked = [
        [f"{write}/api/v1/event", "-d", '{"name": "e", "attributes": {"a": 1}}'],
        [f"{write}/api/v1/measure", "-d", '{"name": "m", "value": 1.5}'],
        [f"{write}/api/v1/event", "-d", '{"name": '],
        [f"{write}/api/v1/event", "-H", "Content-Encoding: gzip", "-d", "x"],
        [f"{write}/api/v1/event", "-H", "Content-Encoding: zstd", "-d", "x"],
        [f"{write}/write", "-d", "x"],
        [f"{write}/metrics"], [f"{write}/nothing"], [f"{read}/metrics"], [f"{read}/"],
        [f"{read}/rpc/nothing"], [f"{read}/rpc/get_measures"],
        [f"{read}/rpc/get_all_latest_common_metrics", "-H", "Accept-Encoding: gzip"],
        [f"{read}/rpc/get_all_latest_common_metrics", "-H", "Accept: text/csv"],
        [f"{read}/rpc/get_all_latest_common_metrics", "-H", "Authorization: Bearer a.b.c"],
        [f"{read}/rpc/get_all_latest_common_metrics", "-X", "OPTIONS", "-H", "Origin: http://x"],
        [f"{read}/api/v1/measure?name=m&bucket=1h"],
        [f"{read}/api/v1/measure", "-d", '{"name": "m", "value": 2}'],
    ]  # fmt: skip
    for words in asked:
        subprocess.run(["curl", "-s", "-o", "/dev/null", *words], check=True)


class TestRefusals:
    def test_a_user_that_there_is_not(self, data_dir: Path) -> None:
        with Up(data_dir, env={"PROMGRES_USERS__API": "no-such-user"}) as up:
            assert up.wait() == 2
        line = one_line(up.stderr)
        assert "users.api" in line
        assert "no-such-user" in line

    def test_a_spool_out_of_reach(self, place: Path, postgres_db: Database) -> None:
        closed = place / "closed"
        closed.mkdir(mode=0o700)
        env = {**postgres_db.environment(), "PROMGRES_LISTEN": "127.0.0.1:0"}
        done = run(PROMGRES, "ingest", "--data-dir", closed / "data", env=env)
        assert done.process.returncode == 2
        line = one_line(done.stderr)
        assert str(closed) in line
        assert "--data-dir" in line
        assert closed.stat().st_mode & 0o777 == 0o700


def test_too_few_users_are_one_line(data_dir: Path) -> None:
    both = {"PROMGRES_USERS__INGEST": "nobody", "PROMGRES_USERS__API": "nobody"}
    with Up(data_dir, env=both) as up:
        sides = up.wait_until_ready()
        assert write_sample(sides, "shared", 5) == 204
        assert newest_values(sides) == {"shared": "5"}
        assert up.stop() == 0
    said = [line for line in up.stderr.splitlines() if "not separated" in line]
    assert len(said) == 1
    assert "ingest and api run as nobody" in said[0]


def test_ingest_alone_stops_being_root(postgres_db: Database) -> None:
    with write_side(postgres_db) as side:
        status = status_of(psutil.Process(side.program.pid))
        assert "0" not in status["Uid"].split()
        assert status["NoNewPrivs"] == "1"
        assert side.write(series({"name": "alone"}, (int(time.time() * 1000), 1))).status == 204


def test_whoever_wants_root_says_so(postgres_db: Database) -> None:
    with write_side(postgres_db, PROMGRES_USERS__INGEST="root") as side:
        assert status_of(psutil.Process(side.program.pid))["Uid"].split()[0] == "0"
        said = [line for line in side.program.stderr.splitlines() if "not separated" in line]
        assert len(said) == 1
