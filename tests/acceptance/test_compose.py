"""The stack of compose.yaml as processes: same commands, same environment, same files, same order.

What only a container engine could show is not shown here: the image itself, users, capabilities,
read-only file systems and networks.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import asyncpg
import cramjam
import jwt
import pytest
import yaml

from tests.support.compose import ROOT, Stack, missing_programs
from tests.support.databases import Database, blocking, execute
from tests.support.messages import payload, series
from tests.support.metrics import Metrics
from tests.support.postgres import start_cluster
from tests.support.processes import free_port, public_directory, wait_until
from tests.support.remote_write import HEADERS, send, snappy

OURS = ("migrate", "ingest", "api", "caddy")
JWT_SECRET = "a secret of tests, long enough for HS256"
VARIABLES = {
    "POSTGRES_PASSWORD": "p@ss:w/rd #1?&%",  # what no URL takes unescaped
    "PROMGRES_API_PASSWORD": "an#other p@ss",
    "PROMGRES_JWT_SECRET": JWT_SECRET,
}
MINUTE_MS = 60_000
JOBS_UP = """
SELECT DISTINCT labels ->> 'job' FROM internal.series JOIN internal.sample USING (series_id)
WHERE name = 'up' AND value = 1
"""
RECORDED = """
SELECT DISTINCT name FROM internal.series AS s
WHERE EXISTS (SELECT FROM internal.sample WHERE series_id = s.series_id)
    OR EXISTS (SELECT FROM cumsum.sample WHERE series_id = s.series_id)
"""


@dataclass(frozen=True)
class Running:
    """The stack while it runs, and its database."""

    stack: Stack
    port: int

    def column(self, query: str) -> set[Any]:
        """The first column of what a query finds."""

        async def ask() -> set[Any]:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=self.port,
                user="postgres",
                password=VARIABLES["POSTGRES_PASSWORD"],
                database="promgres",
            )
            try:
                return {row[0] for row in await connection.fetch(query)}
            finally:
                await connection.close()

        return blocking(ask())


@dataclass(frozen=True)
class Reply:
    """What Caddy answered; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """All of it, on a PostgreSQL that asks for passwords."""
    _require(missing_programs())
    port = free_port()
    cluster = start_cluster(port, VARIABLES["POSTGRES_PASSWORD"])
    try:
        blocking(execute(cluster.url("postgres"), "CREATE DATABASE promgres"))
        with (
            public_directory() as directory,
            Stack(directory, VARIABLES, {"timescaledb": port}) as stack,
        ):
            stack.up()
            yield Running(stack, port)
    finally:
        cluster.stop()


def test_a_sample_goes_in_and_comes_out_through_caddy(running: Running) -> None:
    _goes_through(running.stack)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_answers_are_compressed(running: Running, encoding: str) -> None:
    path = _ten_minutes(running.stack, f"compressed_{encoding}")
    plain = _get(running.stack, path)
    packed = _get(running.stack, path, {"Accept-Encoding": encoding})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == encoding
    assert _unpack(encoding, packed.body) == plain.body
    assert len(packed.body) < len(plain.body)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_what_the_read_api_compressed_is_not_compressed_again(
    running: Running, encoding: str
) -> None:
    large = _get(running.stack, "/", {"Accept-Encoding": encoding})
    assert large.headers["content-encoding"] == encoding
    assert "paths" in json.loads(_unpack(encoding, large.body))


def test_what_caddy_adds_and_hides(running: Running) -> None:
    ready = _get(running.stack, "/-/ready")
    assert ready.status == 200
    assert ready.headers["x-content-type-options"] == "nosniff"
    assert "server" not in ready.headers
    assert _get(running.stack, "/metrics").status == 404


def test_the_token_secret_is_handed_on(running: Running) -> None:
    claims = {"role": "writer", "exp": int(time.time()) + 60}
    token = jwt.encode(claims, JWT_SECRET, algorithm="HS256")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{running.stack.url('caddy')}/rpc/add_excluded_address"
    answer = send(url, b'{"p_value": "an address"}', headers)
    assert answer.status == 204, answer


def test_prometheus_writes_what_it_scrapes(running: Running) -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    wait_until(lambda: running.column(JOBS_UP) == jobs, 60, f"{jobs} are up and written")


def test_every_recording_rule_is_written(running: Running) -> None:
    """A rule over a metric that nobody has would never record anything."""
    files = [ROOT / "deploy/vmalert" / name for name in ("rules.yml", "cumulative.yml")]
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    wanted = {rule["record"] for group in groups for rule in group["rules"]}
    _goes_through(running.stack)
    try:
        wait_until(lambda: wanted <= running.column(RECORDED), 150)
    except AssertionError:
        never = sorted(wanted - running.column(RECORDED))
        raise AssertionError(f"never recorded: {never}") from None


@pytest.mark.parametrize("name", ["backfill-year", "backfill-week", "backfill-forever"])
def test_a_replay_of_the_profile_ends_and_is_done(running: Running, name: str) -> None:
    assert name not in running.stack.programs  # nobody gives the profile
    first = running.stack.run(name)
    assert first.process.returncode == 0, first.output
    assert "samples acknowledged" in first.stdout
    again = running.stack.run(name)
    assert again.process.returncode == 0, again.output
    assert "nothing to do" in again.stdout


def test_nobody_complains(running: Running) -> None:
    for name in ("prometheus", "vmalert"):
        lines = running.stack.programs[name].output.splitlines()
        bad = [line for line in lines if re.search(r'"level": ?"(warn|error)', line)]
        assert not bad, f"{name}: {bad[:5]}"


def test_a_vmalert_that_reads_promgres(running: Running) -> None:
    """The profile's takes the place of the other one: every rule is a query that we answer."""
    running.stack.stop("vmalert")
    program = running.stack.start("vmalert-promgres")
    address = f"127.0.0.1:{running.stack.port('vmalert-promgres', '8880')}"
    rules = {
        rule["record"]
        for name in ("rules.yml", "cumulative.yml")
        for group in yaml.safe_load((ROOT / "deploy/vmalert" / name).read_text())["groups"]
        for rule in group["rules"]
    }
    wanted = {"vmalert_execution_total": 2 * len(rules), "vmalert_remotewrite_sent_rows_total": 1}

    def evaluated() -> bool:
        metrics = Metrics(address)
        return all(metrics.value(name) >= least for name, least in wanted.items())

    wait_until(evaluated, 120, "every rule is evaluated, and something recorded")
    metrics = Metrics(address)
    assert metrics.value("vmalert_execution_errors_total") == 0, program.output
    assert metrics.value("vmalert_remotewrite_dropped_rows_total") == 0, program.output


def test_the_end(running: Running) -> None:
    """Comes last: it stops the stack, the read API before all others."""
    stack = running.stack
    assert stack.stop("api") == 0
    reply = _get(stack, "/rpc/get_latest_geo_coordinates")
    assert reply.status == 503
    assert reply.headers["retry-after"] == "5"
    assert set(json.loads(reply.body)) == {"code", "message", "details", "hint"}
    assert stack.down() == dict.fromkeys(stack.programs, 0)


def test_what_is_ours_runs_on_timescaledb(empty_timescale_db: Database, open_path: Path) -> None:
    _require(missing_programs(OURS))
    port = urlsplit(empty_timescale_db.url).port
    assert port
    one_backend = {  # PGlite has one database and one backend, see DESIGN
        "PROMGRES_DATABASE_URL": empty_timescale_db.url,
        "PROMGRES_API_DATABASE_URL": empty_timescale_db.api_url,
        "PROMGRES_DATABASE__STATEMENT_CACHE_SIZE": "0",
    }
    with Stack(open_path, VARIABLES, {"timescaledb": port}, OURS, one_backend) as stack:
        stack.up()
        assert "engine timescaledb" in stack.programs["migrate"].output
        _goes_through(stack)
        assert stack.down() == dict.fromkeys(OURS, 0)


def _require(missing: list[str]) -> None:
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; python -m tests.support.install")


_numbers = count(1)  # a minute later the same metric would have two newest minutes


def _goes_through(stack: Stack) -> None:
    reply = _get(stack, _ten_minutes(stack, f"compose_test_{next(_numbers)}"))
    assert reply.status == 200, reply
    values = [row["value"] for row in json.loads(reply.body)]
    assert values == ["9.25", *map(str, range(8, -1, -1))]


def _ten_minutes(stack: Stack, name: str) -> str:
    """Write ten minutes of a metric, 0 to 8, then 9.25; the path that reads them."""
    end = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    start = end - 10 * MINUTE_MS
    values = [*map(float, range(9)), 9.25]
    samples = [(start + i * MINUTE_MS, value) for i, value in enumerate(values)]
    body = snappy(payload(series({"name": name, "instance": "compose"}, *samples)))
    answer = send(f"{stack.url('ingest')}/api/v1/write", body, HEADERS)
    assert answer.status == 204, answer
    arguments = {
        "p_metric_name": name,
        "p_schema": "common",
        "p_interval": "1 minute",
        "p_from": _utc(start),
        "p_to": _utc(end),
    }
    return f"/rpc/get_agg_metric?{urlencode(arguments)}"


def _utc(timestamp_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp_ms / 1000))


def _get(stack: Stack, path: str, headers: Mapping[str, str] | None = None) -> Reply:
    parts = urlsplit(stack.url("caddy"))
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())
    finally:
        connection.close()


def _unpack(encoding: str, body: bytes) -> bytes:
    return gzip.decompress(body) if encoding == "gzip" else bytes(cramjam.zstd.decompress(body))
