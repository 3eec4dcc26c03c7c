"""A real `promgres up` in a test."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.support.processes import PROMGRES, Program, command, descendants, get
from tests.support.remote_write import payload, send, series, snappy


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
        arguments = ["up", "--data-dir", data_dir, *addresses, *flags]
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
    arguments = ["psql", "--data-dir", data_dir, "-X", "-A", "-t", "-c", query]
    done = subprocess.run(
        [PROMGRES, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def one_line(stderr: str) -> str:
    """The only line of a refusal, without log lines.

    Raises:
        AssertionError: there is a traceback, or not exactly one line.
    """
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if not re.match(r"\{|\d{4}-\d\d-\d\dT", line)]
    assert len(lines) == 1, stderr
    return lines[0]
