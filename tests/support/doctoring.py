"""The doctor on a database that a test has broken, and its medicine."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg

from ingest.doctor import Finding, Level, Prescription, Site, Thresholds
from ingest.doctor.examination import examine_database
from tests.support.databases import Database

QUICK = Thresholds(rollup_patience=0.5, job_overdue=24 * 3600)
"""PGlite has no scheduler: after ten minutes of tests every job of its template is overdue."""
"""Nobody takes marks in these tests: no need to watch for long."""

FRESH_JOBS = "UPDATE _timescaledb_config.bgw_job SET initial_start = now() WHERE id >= 1000"
"""Background workers rest, or are not there: every job waits since the template was made."""


class Diagnosis:
    """What the doctor found."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def of(self, check: str) -> list[Finding]:
        """All lines of a check."""
        return [finding for finding in self.findings if finding.check == check]

    def only(self, check: str) -> Finding:
        """The one line of a check."""
        (finding,) = self.of(check)
        return finding

    def level(self, check: str) -> Level:
        """The level of a check with one line."""
        return self.only(check).level

    def bad(self, level: Level = Level.PROBLEM) -> dict[str, str]:
        """Checks with a finding of this level, and what it says."""
        return {each.check: each.what for each in self.findings if each.level == level}


async def diagnose(
    database: Database,
    *,
    now: Callable[[], float] = time.time,
    settings: dict[str, Any] | None = None,
    **thresholds: Any,
) -> Diagnosis:
    """Examine a database; `thresholds` replace the usual ones."""
    site = Site(
        settings=database.settings(**(settings or {})),
        prescribe=Prescription(),
        thresholds=replace(QUICK, **thresholds),
        now=now,
    )
    return Diagnosis(await examine_database(site))


def statements(todo: str) -> list[str]:
    """What a `promgres psql -c … -c …` in a piece of advice would run."""
    words = shlex.split(todo[todo.index("promgres psql") :].partition("; ")[0])
    return [words[index + 1] for index, word in enumerate(words) if word == "-c"]


async def take(database: Database, finding: Finding) -> None:
    """Do what a finding says: its statements in one session, each by itself, as psql does."""
    connection = await asyncpg.connect(database.url, statement_cache_size=0)
    try:
        for statement in statements(finding.todo):
            await connection.execute(statement)
        await connection.execute("RESET ROLE")  # PGlite has one session for all
    finally:
        await connection.close()


async def heals(database: Database, check: str, **how: Any) -> None:
    """See a check complain, take every medicine it names, see it content."""
    found = await diagnose(database, **how)
    assert found.of(check)
    for finding in found.of(check):
        assert finding.level != Level.OK, found.findings
        await take(database, finding)
    await until_ok(database, check, **how)


async def until_ok(database: Database, check: str, **how: Any) -> None:
    """Wait until a check is content; settings reach new sessions a moment after a reload."""
    deadline = time.monotonic() + 5
    while [each for each in (await diagnose(database, **how)).of(check) if each.level != Level.OK]:
        assert time.monotonic() < deadline, (await diagnose(database, **how)).of(check)
        await asyncio.sleep(0.05)
