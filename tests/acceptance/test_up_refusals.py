"""What `promgres up` does not do, and the one line that it says instead."""

from __future__ import annotations

import os
import pwd
import socket
from pathlib import Path

import pytest

from tests.support.databases import Database
from tests.support.processes import free_port, processes_of
from tests.support.up import Up, one_line

pytestmark = pytest.mark.timeout(120)

as_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def refusal(
    data_dir: Path, *flags: str, env: dict[str, str | None] | None = None, user: str | None = None
) -> str:
    """The one line of a start that must fail; nothing of it may be left."""
    with Up(data_dir, *flags, env=env, user=user) as up:
        assert up.wait(60) == 2, up.output
    assert up.stdout == ""
    assert processes_of(data_dir) == []
    return one_line(up.stderr)


@pytest.mark.parametrize("flag", ["--listen", "--api-listen"])
def test_a_port_in_use(data_dir: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = refusal(data_dir, flag, address)
    assert address in line
    assert "in use" in line
    assert flag in line
    assert not (data_dir / "postgres").exists(), "it is looked at before anything is made"


def test_the_database_s_port_in_use(data_dir: Path) -> None:
    env: dict[str, str | None] = {"PROMGRES_DATABASE__PASSWORD": "secret"}
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        line = refusal(data_dir, "--database-listen", address, env=env)
    assert address in line
    assert "--database-listen" in line


def test_a_data_directory_that_cannot_be_made(place: Path) -> None:
    (place / "file").write_text("not a directory")
    line = refusal(place / "file" / "data")
    assert str(place / "file" / "data") in line
    assert "--data-dir" in line


@as_root_only
def test_a_data_directory_of_another_owner(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o750)
    os.chown(data_dir, pwd.getpwnam("nobody").pw_uid, -1)
    before = data_dir.stat()
    line = refusal(data_dir)
    assert "belongs to nobody" in line
    assert "--data-dir" in line
    assert data_dir.stat() == before
    assert list(data_dir.iterdir()) == []


@as_root_only
def test_as_root_a_data_directory_below_a_closed_one(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    line = refusal(closed / "data")
    assert str(closed) in line
    assert "0700" in line
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_database_that_is_not_there(data_dir: Path) -> None:
    env: dict[str, str | None] = {
        "PROMGRES_DATABASE_URL": f"postgresql://owner:hidden@127.0.0.1:{free_port()}/metrics",
        "PROMGRES_API_PASSWORD": "also-hidden",
        "PROMGRES_DATABASE__CONNECT_TIMEOUT_SECONDS": "0.5",
    }
    line = refusal(data_dir, env=env)
    assert "database" in line
    assert "hidden" not in line


def test_an_owner_s_url_without_a_login_for_the_read_side(data_dir: Path) -> None:
    env: dict[str, str | None] = {
        "PROMGRES_DATABASE_URL": f"postgresql://owner:hidden@127.0.0.1:{free_port()}/metrics"
    }
    line = refusal(data_dir, env=env)
    assert "PROMGRES_API_PASSWORD" in line
    assert "--api-database-url" in line
    assert "hidden" not in line


def test_a_wrong_setting(data_dir: Path) -> None:
    assert "no-port" in refusal(data_dir, "--listen", "no-port")


def test_a_child_s_refusal_is_the_only_line(data_dir: Path, place: Path) -> None:
    """What only a child can notice: `up` adds nothing to what it says."""
    url = f"postgresql://nobody-knows-me@/postgres?host={data_dir}/postgres/socket"
    config = place / "promgres.toml"
    config.write_text(f"data_dir = '{data_dir}'\n")
    line = refusal(data_dir, "--config", str(config), "--api-database-url", url + "&port=nonsense")
    assert "promgres: " in line


def test_up_on_a_given_database_starts_none(data_dir: Path, empty_postgres_db: Database) -> None:
    with Up(data_dir, env={"PROMGRES_DATABASE_URL": empty_postgres_db.url}) as up:
        up.wait_until_ready()
        assert not (data_dir / "postgres").exists()
        assert empty_postgres_db.url not in up.stdout, "a URL may hold a password"
        assert up.stop() == 0
    assert processes_of(data_dir) == []
