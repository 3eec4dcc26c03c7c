"""A real `promgres up` in a test."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import psutil

from ingest.storage.embedded import running_url
from tests.support.databases import blocking
from tests.support.messages import payload, series
from tests.support.processes import (
    PROMGRES,
    Program,
    command,
    descendants,
    get,
    wait_until,
)
from tests.support.remote_write import send, snappy


class Sides(NamedTuple):
    """Where both sides of a running `up` listen."""

    write: str
    read: str


class Up(Program):
    """`promgres up` on ports of its own; `wait_until_ready` says which.

    Args:
        data_dir: where its database is.
        flags: after those for data directory and addresses.
        program: how to call promgres, if not as it is installed.
    """

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        program: tuple[str | Path, ...] = (PROMGRES,),
    ) -> None:
        addresses = ["--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]
        arguments: list[str | Path] = ["up", "--data-dir", data_dir, *addresses, *flags]
        super().__init__(*program, *arguments, env=env, cwd=cwd, user=user)

    def wait_until_ready(self, seconds: float = 90) -> Sides:
        """Wait for the welcome."""
        self.wait_for(r"Promgres is ready", seconds)
        write = self.wait_for(r"^  write +(http://\S+)/write")[1]
        read = self.wait_for(r"^  read +(http://\S+)/rpc/")[1]
        return Sides(write, read)

    def child(self, name: str) -> psutil.Process:
        """Its process of `promgres ingest` or `promgres api`."""
        return self._descendant(f"/promgres {name}")

    def postmaster(self) -> psutil.Process:
        """Its database server."""
        return self._descendant("/postgres -D ")

    def _descendant(self, words: str) -> psutil.Process:
        found = [each for each in descendants(self.pid) if words in f"{command(each)} "]
        parents = {each.pid for each in found}
        roots = [each for each in found if each.ppid() not in parents]
        assert len(roots) == 1, f"{words}: {[command(each) for each in descendants(self.pid)]}"
        return roots[0]


def write_sample(sides: Sides, name: str, value: float) -> int:
    """Send one sample of now; the answer's status, 0 when nobody answers."""
    sample = series({"name": name}, (int(time.time() * 1000), value))
    with suppress(OSError):
        return send(f"{sides.write}/write", snappy(payload(sample))).status
    return 0


def newest_values(sides: Sides) -> dict[str, str]:
    """Metric names and their newest values, as the read side gives them; empty if it does not."""
    status, body = get(f"{sides.read}/rpc/get_all_latest_common_metrics")
    return {row["table_name"]: row["value"] for row in json.loads(body)} if status == 200 else {}


def psql(data_dir: Path, query: str) -> str:
    """What `promgres psql` answers to a query on an embedded database."""
    arguments: list[str | Path] = ["psql", "--data-dir", data_dir, "-X", "-A", "-t", "-c", query]
    done = subprocess.run(
        [PROMGRES, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ask(data_dir: Path, query: str) -> str:
    """The same without starting a program: for what is asked again and again."""

    async def rows() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(running_url(data_dir))
        try:
            found: list[asyncpg.Record] = await connection.fetch(query)
            return found
        finally:
            await connection.close()

    return "\n".join("|".join(map(str, row)) for row in blocking(rows()))


def assert_readers_make_way(up: Up, sql: Callable[[str], str]) -> None:
    """The backends of questions are nicer than those of samples, of dear ones the nicest; a process
    that only looks like one is left alone."""
    sides = up.wait_until_ready()
    server = up.postmaster()
    sql(
        "CREATE FUNCTION api.dream(p_seconds float8) RETURNS void LANGUAGE sql STABLE"
        " AS 'SELECT pg_sleep(p_seconds)'"
    )
    sql("GRANT EXECUTE ON FUNCTION api.dream TO web_anon")
    wait_until(lambda: get(f"{sides.read}/rpc/dream?p_seconds=0")[0] == 204, 60)
    wait_until(lambda: write_sample(sides, "served_first", 1) == 204, 60)
    dear = http.client.HTTPConnection(urlsplit(sides.read).netloc)
    dear.request("GET", "/rpc/dream?p_seconds=29")
    title = command(next(each for each in server.children() if "promgres_api" in command(each)))
    double = ("bash", "-c", 'exec -a "$0" sleep 600', title)
    user = None if server.uids().real == os.geteuid() else server.username()
    with Program(*double, user=user) as stranger:
        wait_until(lambda: command(psutil.Process(stranger.pid)).startswith(title), 60)
        wanted = {"promgres ingest": {(0, 0)}, "promgres api": {(5, 5)}}
        least = server.nice()
        wanted["promgres api dear"] = {(min(10, 19 - least), 10)}
        wait_until(lambda: _nicenesses(sql, least) == wanted, 60, "they make way")
        assert psutil.Process(stranger.pid).nice() == os.getpriority(os.PRIO_PROCESS, 0)
    dear.close()


def _nicenesses(sql: Callable[[str], str], least: int) -> dict[str, set[tuple[int, int]]]:
    """By application, what its backends have in /proc/PID/stat, more than `least`, and what their
    sessions have."""
    found: dict[str, set[tuple[int, int]]] = {}
    query = (
        "SELECT pid, application_name FROM pg_stat_activity"
        " WHERE application_name = 'promgres ingest' OR application_name LIKE 'promgres api%'"
    )
    for line in sql(query).splitlines():
        pid, _, application = line.partition("|")
        with suppress(OSError):
            process = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
            session, file = process - least, Path(f"/proc/{pid}/autogroup")
            if file.exists():
                session = int(file.read_text().rpartition("nice ")[2])
            found.setdefault(application, set()).add((process - least, session))
    return found


def one_line(stderr: str) -> str:
    """The only line of a refusal, without log lines.

    Raises:
        AssertionError: there is a traceback, or not exactly one line.
    """
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if not re.match(r"\{|\d{4}-\d\d-\d\dT", line)]
    assert len(lines) == 1, stderr
    return lines[0]
