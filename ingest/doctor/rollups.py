"""Engine postgres: whether the worker keeps up with what batches marked, and with what it makes of
what is over: packed minutes and histograms, hours of series."""

from __future__ import annotations

import asyncio
import time

from ingest.doctor.case import Case
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.jobs import ROLLUPS
from ingest.doctor.words import count, span

MINUTES, HOURS, HISTOGRAMS = "minutes", "hours", "histograms"
LOOK_AGAIN_SECONDS = 0.25


async def check_rollups(case: Case) -> list[Finding]:
    """Marks of buckets that ended long ago, and whether somebody takes them.

    A backfill marks old buckets by nature: what tells is whether the next one goes away.
    """
    rows = await case.rows("rollup_marks", case.thresholds.rollup_lag)
    if not rows:
        return ok(ROLLUPS, "stored up to the last minutes")
    stuck = [row for row in rows if await _is_stuck(case, row["target"])]
    waiting = ", ".join(
        f"{count(row['marks'], 'mark')} of {row['target']}, the oldest {span(row['oldest'])} back"
        for row in (stuck or rows)
    )
    if not stuck:
        return ok(ROLLUPS, f"being stored: {waiting}")
    what = f"nobody stores rollups: {waiting}; reading those buckets is right, and slow"
    return [problem(ROLLUPS, what, _start(case))]


def _start(case: Case) -> str:
    start = case.prescribe.promgres("up" if case.prescribe.embedded else "ingest")
    return f"start a write side ({start}); if one runs, see its log"


async def check_minutes(case: Case) -> list[Finding]:
    """Whether rollups of minutes that are over get packed."""
    return await _made(case, MINUTES, "none wait to be packed", "minutes of {} are not packed")


async def check_histograms(case: Case) -> list[Finding]:
    """Whether native histograms that are over get packed."""
    return await _made(case, HISTOGRAMS, "none wait to be packed", "histograms are not packed")


async def check_hours(case: Case) -> list[Finding]:
    """Whether hours of series are made of days that are over, and who holds that up."""
    return await _made(case, HOURS, "none wait to be made", "hours of {} are not made")


async def _made(case: Case, line: str, fine: str, late: str) -> list[Finding]:
    """What an upgrade or a backfill left is worked off: what tells is whether it goes on."""
    limit = case.thresholds.packing
    rows = {row["target"]: row for row in await case.rows("condensed", limit)}
    behind = [target for target, row in rows.items() if row[line] > limit]
    deadline = time.monotonic() + case.thresholds.rollup_patience
    stuck = behind
    while stuck and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        now = {row["target"]: row for row in await case.rows("condensed", limit)}
        stuck = [each for each in stuck if now[each][f"{line}_at"] == rows[each][f"{line}_at"]]
    if not behind:
        return ok(line, fine)
    findings = []
    for target in stuck:
        row = rows[target]
        what = f"{late.format(target)}, the oldest could be since {span(row[line])}"
        if line == HOURS and row["who"]:
            end = case.prescribe.sql(
                *[f"SELECT pg_terminate_backend({pid})" for pid in row["pids"]]
            )
            findings.append(
                warning(line, f"{what}: {row['who']} holds that up", f"wait for it, or {end}")
            )
        else:
            findings.append(
                warning(line, f"{what}; reading them is right, and slower", _start(case))
            )
    return findings or ok(line, f"a write side is at it, the oldest first: {', '.join(behind)}")


async def _is_stuck(case: Case, target: str) -> bool:
    """Whether the mark that the worker takes next stays where it is."""
    found = await case.rows("rollup_next", target, case.thresholds.rollup_lag)
    deadline = time.monotonic() + case.thresholds.rollup_patience
    for mark in found:
        where = (target, mark["place"], mark["version"])
        while (await case.row("rollup_waits", *where))["waits"]:
            if time.monotonic() >= deadline:
                return True
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
    return False
