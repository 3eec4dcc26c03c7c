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
