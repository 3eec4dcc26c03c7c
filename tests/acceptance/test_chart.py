"""The chart's kept manifests as processes: same commands, environment, files, users and order.

What only a cluster could show is not shown here: the image itself, read-only file systems, network
policies, and what restarts, moves and scales pods.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.chart import Release, kept, one
from tests.support.databases import Database, blocking, connect, execute
from tests.support.debian import need
from tests.support.postgres import UNSAFE_BUT_QUICK, Cluster, make_home
from tests.support.processes import free_port, wait_until
from tests.support.remote_write import send

OWNERS, APIS = "p@ss:w/rd #1?&%", "an#other p@ss"  # what no URL takes unescaped
SECRETS = {
    "promgres": {
        "owner-password": OWNERS,
        "api-password": APIS,
        "jwt-secret": "a secret of tests, long enough for HS256",
    },
    "metrics-db": {"owner": OWNERS, "api": APIS, "reader": "a third"},
}
BY_TCP = """
SELECT DISTINCT usename::text FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
WHERE datname = 'metrics' AND client_addr IS NOT NULL
"""


@pytest.mark.parametrize("name", ["kind", "timescaledb"])
def test_on_timescaledb(name: str, empty_timescale_db: Database, open_path: Path) -> None:
    one_backend = {  # PGlite has one database, one backend and no TLS, see DESIGN
        **empty_timescale_db.environment(),
        "PGSSLMODE": "disable",
    }
    with Release(open_path, kept(name), SECRETS, extra=one_backend) as release:
        release.install()
        assert "engine timescaledb" in release.programs["migrate"].output
        _goes_through(release)
        assert release.stop() == {"ingest": 0, "api": 0}


def test_on_a_managed_postgresql(open_path: Path) -> None:
    port = free_port()
    with _postgresql_with_tls(port) as (cluster, certificate):
        setup = (
            f"CREATE ROLE metrics_owner LOGIN CREATEROLE PASSWORD '{OWNERS}'",
            "CREATE DATABASE metrics OWNER metrics_owner",
        )
        for statement in setup:
            blocking(execute(cluster.url("postgres"), statement))
        database = {"metrics.postgres.example.com:5432": f"localhost:{port}"}
        given = SECRETS | {"postgres-ca": {"ca.crt": certificate}}
        with Release(open_path, kept("managed-postgresql"), given, database) as release:
            release.install()
            assert "engine postgres" in release.programs["migrate"].output
            _goes_through(release)
            assert _column(cluster, BY_TCP) == {"metrics_owner", "promgres_api"}
            assert _column(cluster, f"{BY_TCP} AND NOT ssl") == set()
            _doctor_sees_both_sides(release)
            assert release.stop() == {"ingest": 0, "api": 0}


def test_a_server_with_another_certificate_is_not_believed(open_path: Path) -> None:
    port = free_port()
    with _postgresql_with_tls(port), _postgresql_with_tls(free_port()) as (_, another):
        database = {"metrics.postgres.example.com:5432": f"localhost:{port}"}
        given = SECRETS | {"postgres-ca": {"ca.crt": another}}
        with Release(open_path, kept("managed-postgresql"), given, database) as release:
            migration = release.start("migrate")
            assert migration.wait() == 2
            assert "certificate verify failed" in migration.stderr
            assert OWNERS not in migration.output


def _goes_through(release: Release) -> None:
    """A key is made as in a pod; with it what comes to the read side is handed to the write side,
    and read again. Without one nothing is taken where keys are required."""
    created = release.start("ingest", ["key", "create", "default"])
    assert created.wait() == 0, created.output
    key = {"Authorization": f"Bearer {created.stdout.strip()}"}
    body = b'{"name": "rolled_out", "attributes": {"by": "helm"}}'
    url = f"{release.url('api')}/api/v1/event"
    answer = send(url, body, key)
    assert answer.status == 201, answer

    def stored() -> bool:
        rows = send(f"{url}?name=rolled_out", None, key, "GET")
        return rows.status == 200 and b'"helm"' in rows.body

    wait_until(stored, what="the event can be read")
    required = "required = true" in str(one(release.manifests, "ConfigMap", "promgres")["data"])
    without = send(f"{release.url('ingest')}/api/v1/event", body, {})
    assert without.status == (401 if required else 201)


def _doctor_sees_both_sides(release: Release) -> None:
    doctor = release.start("ingest", ["doctor", "--json"])
    assert doctor.wait() in (0, 1), doctor.output  # 1: this machine's disk may be anything
    findings = {each["check"]: each for each in json.loads(doctor.stdout)["checks"]}
    for side in ("write side", "read side"):
        assert findings[side]["level"] == "ok", findings[side]


def _column(cluster: Cluster, query: str) -> set[str]:
    async def ask() -> set[str]:
        async with connect(Database(cluster.url("metrics"), "postgres")) as connection:
            return {row[0] for row in await connection.fetch(query)}

    return blocking(ask())


@contextmanager
def _postgresql_with_tls(port: int) -> Iterator[tuple[Cluster, str]]:
    """Debian's PostgreSQL (the wheel's has no TLS), and the certificate that it shows."""
    binaries = need("/usr/lib/postgresql/*/bin/postgres").parent
    if not shutil.which("openssl"):
        pytest.skip("not installed: openssl")
    home = make_home(UNSAFE_BUT_QUICK, port, "the superuser's", binaries=binaries)
    certificate, key = home.directory / "server.crt", home.directory / "server.key"
    words = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *name, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    if home.identity:
        os.chown(key, home.identity["user"], home.identity["group"])
    tls = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
    cluster = replace(home, settings={**home.settings, **tls}).launch()
    try:
        yield cluster, certificate.read_text()
    finally:
        cluster.stop()
