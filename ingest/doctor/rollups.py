"""Engine postgres: whether the worker keeps up with what batches marked."""

from __future__ import annotations

import asyncio
import time

from ingest.doctor.case import Case
from ingest.doctor.finding import Finding, ok, problem
from ingest.doctor.jobs import ROLLUPS
from ingest.doctor.words import count, span

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
    start = case.prescribe.promgres("up" if case.prescribe.embedded else "ingest")
    return [problem(ROLLUPS, what, f"start a write side ({start}); if one runs, see its log")]


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
