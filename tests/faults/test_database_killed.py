"""The database dies under load: nothing acknowledged is missing, every sample is counted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.metrics import Metrics
from tests.support.processes import PROMGRES, Program, child, wait_until
from tests.support.stack import Stack, running_stack

SERIES = 5000
RATE = 0 if "PROMGRES_FAULT_ROUNDS" in os.environ else 10_000
"""Samples a second; 0 is as many as there can be."""


def load(stack: Stack, seconds: int) -> Program:
    """A sender that reports as JSON."""
    arguments = ["--url", stack.write_url, "--series", SERIES, "--senders", 4, "--rate", RATE]
    arguments += ["--duration", seconds, "--json"]
    return Program(PROMGRES, "load", *map(str, arguments))


async def stored(stack: Stack) -> int:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM internal.sample JOIN internal.series USING (series_id)"
            " WHERE name = 'promgres_load'"
        )
    finally:
        await connection.close()


def metrics(stack: Stack) -> Metrics:
    return Metrics(urlsplit(stack.write_url).netloc)


async def kill_database_twice(stack: Stack) -> None:
    for _ in range(2):
        await grown(stack)
        child(stack.program.pid, "postgres", "-D").send_signal(signal.SIGKILL)
        metrics(stack).assert_balanced()


async def test_with_the_spool_no_sender_notices() -> None:
    with running_stack() as stack, load(stack, 12) as sender:
        await kill_database_twice(stack)
        sender.wait()
        report = json.loads(sender.stdout)
        assert report["acknowledged"] == report["sent"], report
        assert report["statuses"].keys() == {"204"}, report
        metrics(stack).assert_balanced()
        wait_until(lambda: metrics(stack).value("promgres_spool_requests") == 0)
        assert metrics(stack).value("promgres_spool_drained_total") > 0
        assert await stored(stack) == report["sent"]
        metrics(stack).assert_balanced()


async def test_without_the_spool_senders_get_503_and_lose_nothing() -> None:
    with running_stack(PROMGRES_SPOOL__MAX_BYTES="0") as stack, load(stack, 12) as sender:
        await kill_database_twice(stack)
        sender.wait()
        report = json.loads(sender.stdout)
        assert report["acknowledged"] == report["sent"], report
        assert report["statuses"].keys() == {"204", "503"}, report
        assert await stored(stack) == report["sent"]
        counted = metrics(stack)
        counted.assert_balanced()
        assert counted.samples("unavailable") > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_write_side_ends_under_load(number: signal.Signals) -> None:
    with running_stack() as stack, load(stack, 8) as sender:
        await grown(stack)
        child(stack.program.pid, "promgres ingest").send_signal(number)  # `up` starts another
        sender.wait()
        report = json.loads(sender.stdout)
        assert report["acknowledged"] == report["sent"], report
        wait_until(lambda: metrics(stack).value("promgres_spool_requests") == 0)
        assert await stored(stack) == report["sent"]
        metrics(stack).assert_balanced()


async def grown(stack: Stack) -> None:
    """Wait until samples arrive again."""
    before: int | None = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            now = await stored(stack)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.sleep(0.1)
            continue
        if before is not None and now > before:
            return
        before = now
        await asyncio.sleep(0.1)
    raise AssertionError("no sample arrived for 60 s")
