"""The database dies under load: senders get 503 and nothing that was acknowledged is missing."""

from __future__ import annotations

import json
import signal
import time

import asyncpg
import psutil

from tests.support.processes import PROMGRES, Program, child
from tests.support.stack import Stack, running_stack

SERIES = 5000


def load(stack: Stack, seconds: int) -> Program:
    """A sender that reports as JSON."""
    arguments = ["--url", stack.write_url, "--series", SERIES, "--senders", 4, "--json"]
    return Program(PROMGRES, "load", *map(str, arguments), "--duration", str(seconds))


async def stored(stack: Stack) -> int:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = 'promgres_load'"
        )
    finally:
        await connection.close()


def kill_database(stack: Stack) -> None:
    postmaster: psutil.Process = child(stack.program.pid, "postgres", "-D")
    postmaster.send_signal(signal.SIGKILL)


async def test_kill_9_of_the_database_under_load() -> None:
    with running_stack() as stack, load(stack, 15) as sender:
        for _ in range(2):
            await grown(stack)
            kill_database(stack)
        sender.wait()
        report = json.loads(sender.stdout)
        assert report["acknowledged"] == report["sent"], report
        assert set(report["statuses"]) <= {"204", "503"}, report
        assert report["statuses"].get("503"), report
        assert await stored(stack) == report["sent"]


async def test_sigterm_under_load_loses_nothing_acknowledged() -> None:
    with running_stack() as stack, load(stack, 8) as sender:
        await grown(stack)
        writer = child(stack.program.pid, "promgres", "ingest")
        writer.send_signal(signal.SIGTERM)  # `up` starts another one
        sender.wait()
        report = json.loads(sender.stdout)
        assert report["acknowledged"] == report["sent"], report
        assert await stored(stack) == report["sent"]


async def grown(stack: Stack) -> None:
    """Wait until samples arrive again."""
    before: int | None = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            now = await stored(stack)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            continue
        if before is not None and now > before:
            return
        before = now
    raise AssertionError("no sample arrived for 60 s")
