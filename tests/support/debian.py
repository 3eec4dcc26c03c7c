"""What Debian's packages bring: a PostgreSQL whose messages are German, and PgBouncer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.databases import Database, blocking, connect
from tests.support.install import PLACES, found
from tests.support.postgres import UNSAFE_BUT_QUICK, Cluster, make_home
from tests.support.processes import Program, free_port, public_directory

GERMAN = "de_DE.UTF-8"


def need(place: str) -> Path:
    """A file of one of Debian's packages (the newest, of several); without it the test skips, and
    in CI it fails."""
    files = found(place)
    if not files:
        _skip(f"{place} is not here: as root, apt-get install {PLACES[place]}")
    return files[-1]


def _skip(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def german_cluster() -> Iterator[Cluster]:
    """A cluster of Debian's PostgreSQL that says everything in German.

    The locale is made in the cluster's own folder: the machine need not have it.
    """
    postgres = need("/usr/lib/postgresql/*/bin/postgres")
    need("/usr/share/i18n/locales/de_DE")
    home = make_home({**UNSAFE_BUT_QUICK, "lc_messages": GERMAN}, binaries=postgres.parent)
    locales = home.directory / "locales"
    locales.mkdir(mode=0o755)
    subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", locales / GERMAN], check=True, timeout=120
    )
    cluster = replace(home, environment={"LOCPATH": str(locales)}).launch()
    try:
        if "existiert nicht" not in blocking(
            _complaint(Database(cluster.url("postgres"), "postgres"))
        ):
            _skip("this PostgreSQL has no German messages: its package came without translations")
        yield cluster
    finally:
        cluster.stop()


async def _complaint(database: Database) -> str:
    async with connect(database) as connection:
        try:
            await connection.execute("SELECT nosuch")
        except Exception as error:
            return str(error)
    return ""


@contextmanager
def pgbouncer(database: Database) -> Iterator[str]:
    """PgBouncer in transaction mode before a database, with one session of the server for all; its
    URL. Skips where Debian's package is not installed."""
    program = need("/usr/sbin/pgbouncer")
    socket = database.url.partition("?host=")[2].partition("&")[0]
    name = database.url.partition("?")[0].rpartition("/")[2]
    with public_directory() as folder:
        yield from _pgbouncer(program, folder, socket, name)


def _pgbouncer(program: Path, folder: Path, socket: str, name: str) -> Iterator[str]:
    port = free_port()
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text('"postgres" ""\n')
    config.write_text(
        f"[databases]\n{name} = host={socket} port=5432 dbname={name}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 1\n"
    )
    user = "nobody" if os.geteuid() == 0 else None
    with Program(program, config, user=user) as pooler:
        pooler.wait_for("process up")
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
