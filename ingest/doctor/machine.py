"""This machine: disks, clock, spool."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from ingest.doctor.case import Case, Site
from ingest.doctor.finding import Finding, ok, problem, warning
from ingest.doctor.words import count, size, span
from ingest.errors import OperatorError
from ingest.writer.spool.damage import set_aside
from ingest.writer.spool.file import FOLDER, Standing, read_standing

DISK, CLOCK, SPOOL = "disk", "clock", "spool"


def check_disk(site: Site) -> list[Finding]:
    """Room for the spool, and for the embedded database if there is one."""
    places = [site.settings.data_dir.expanduser()]
    if site.settings.embedded:
        places.append(places[0] / "postgres" / "data")
    disks: dict[int, Path] = {}
    for place in places:
        there = _nearest(place)
        disks.setdefault(there.stat().st_dev, there)
    return [_check_disk(site, place) for place in disks.values()]


def _nearest(path: Path) -> Path:
    """The path, or the closest folder above it that exists and may be looked at."""
    for each in (path, *path.parents):
        try:
            if each.exists():
                return each
        except PermissionError:
            continue
    return Path("/")


def _check_disk(site: Site, place: Path) -> Finding:
    limits = site.thresholds
    usage = shutil.disk_usage(place)
    share = usage.free / usage.total if usage.total else 0.0
    what = f"{size(usage.free)} free at {place} ({share:.0%} of {size(usage.total)})"
    todo = f"make room: du -xh {place} | sort -h | tail"
    if share < limits.disk_share_problem or usage.free < limits.disk_bytes_problem:
        return problem(DISK, what, todo)
    inodes = os.statvfs(place)
    # Some file systems have no fixed number of them, and say 0.
    inode_share = inodes.f_favail / inodes.f_files if inodes.f_files else 1.0
    if inode_share < limits.inode_share_warning:
        complain = problem if inode_share < limits.inode_share_problem else warning
        few = f"{inodes.f_favail} of {inodes.f_files} inodes free at {place}: no room for files"
        return complain(DISK, few, f"remove files: du --inodes -x {place} | sort -n | tail")
    if share < limits.disk_share_warning:
        return warning(DISK, what, todo)
    if usage.free < site.settings.spool.max_bytes:
        more = f"{what}, and the spool may take {size(site.settings.spool.max_bytes)}"
        return warning(DISK, more, "make room, or set a smaller spool.max_bytes")
    return ok(DISK, what)[0]


async def check_clock(case: Case) -> list[Finding]:
    """The clock of this machine against the server's."""
    before, began = case.now(), time.monotonic()
    theirs = (await case.row("clock"))["seconds"]
    ahead = before + (time.monotonic() - began) / 2 - theirs
    if abs(ahead) < case.thresholds.clock_warning:
        return ok(CLOCK, f"{abs(ahead):.1f} s from the database's")
    where = "ahead of" if ahead > 0 else "behind"
    what = f"this machine's clock is {span(ahead)} {where} the database's"
    complain = problem if abs(ahead) >= case.thresholds.clock_problem else warning
    return [complain(CLOCK, what, "timedatectl set-ntp true, on both; see timedatectl status")]


def check_spool(site: Site, is_drained: bool) -> list[Finding]:
    """What waits in the spool, how long, and what the database refused of it.

    Args:
        is_drained: a write side answers here, so that somebody writes it back.
    """
    if site.settings.spool.max_bytes == 0:
        return ok(SPOOL, "switched off (spool.max_bytes = 0): senders keep what is not committed")
    try:
        standing = read_standing(site.settings.data_dir.expanduser())
    except OperatorError as error:
        what, _, todo = str(error).partition("; ")
        return [problem(SPOOL, what, todo or "stop the write side, move the folder away, keep it")]
    if standing is None:
        return ok(SPOOL, f"none in {site.settings.data_dir}: nothing was ever spooled")
    findings = _check_waiting(site, standing, is_drained) if standing.requests else []
    if standing.rejected:
        what = f"the database refused {count(standing.rejected, 'acknowledged sample')}"
        findings.append(warning(SPOOL, what, site.prescribe.promgres("spool", "rejected")))
    if files := set_aside(site.settings.data_dir.expanduser() / FOLDER):
        what = f"{count(len(files), 'damaged file')} set aside, the last {files[-1]}"
        todo = (
            "check the disk; what is left in it: sqlite3 FILE .recover (docs/how-to/operations.md)"
        )
        findings.append(warning(SPOOL, what, todo))
    return findings or ok(SPOOL, "empty")


def _check_waiting(site: Site, standing: Standing, is_drained: bool) -> list[Finding]:
    limits = site.thresholds
    assert standing.oldest_ms is not None
    age = site.now() - standing.oldest_ms / 1000
    share = standing.payload_bytes / site.settings.spool.max_bytes
    what = (
        f"{count(standing.requests, 'request')} with {count(standing.samples, 'sample')} wait for"
        f" {span(age)}, {size(standing.payload_bytes)} ({share:.0%} of its limit)"
    )
    if not is_drained:
        start = site.prescribe.promgres("up" if site.prescribe.embedded else "ingest")
        return [problem(SPOOL, f"{what}, and no write side takes them out", f"start it: {start}")]
    if share >= limits.spool_share_problem:
        todo = "bring the database back; senders get 503 when it is full"
        return [problem(SPOOL, what, f"{todo}; a larger spool.max_bytes needs a restart")]
    if share >= limits.spool_share_warning or age >= limits.spool_age:
        return [
            warning(SPOOL, what, f"watch it shrink: {site.prescribe.promgres('spool', 'status')}")
        ]
    return ok(SPOOL, f"{what}, being written back")
