"""The doctor on spools and disks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest.config import Settings
from ingest.config.settings import SpoolSettings
from ingest.doctor import Finding, Level, Site
from ingest.doctor.machine import check_disk, check_spool
from ingest.writer.spool.file import FILE, FOLDER, Entry, SpoolFile
from tests.support.small_disk import small_disk


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolFile]:
    """A spool in use."""
    file = SpoolFile(tmp_path)
    yield file
    file.close()


def site(data_dir: Path, max_bytes: int = 1000, **thresholds: Any) -> Site:
    settings = Settings(_env_file=None, data_dir=data_dir, spool=SpoolSettings(max_bytes=max_bytes))
    usual = Site(settings=settings)
    return replace(usual, thresholds=replace(usual.thresholds, **thresholds))


def entry(payload_bytes: int, age_seconds: float = 1.0) -> Entry:
    received_ms = int((time.time() - age_seconds) * 1000)
    return Entry(0, received_ms, 1, 1, 10, 0, b"x" * payload_bytes)


def look(data_dir: Path, is_drained: bool = True) -> list[Finding]:
    return check_spool(site(data_dir), is_drained)


def test_no_spool(tmp_path: Path) -> None:
    (found,) = look(tmp_path)
    assert found.level == Level.OK
    assert "nothing was ever spooled" in found.what
    (found,) = check_spool(site(tmp_path, max_bytes=0), is_drained=True)
    assert "switched off" in found.what


def test_an_empty_spool(tmp_path: Path, spool: SpoolFile) -> None:
    (found,) = look(tmp_path)
    assert (found.level, found.what) == (Level.OK, "empty")


@pytest.mark.parametrize(
    ("payload_bytes", "age_seconds", "level"),
    [
        (100, 1, Level.OK),
        (100, 301, Level.WARNING),
        (500, 1, Level.WARNING),
        (800, 1, Level.PROBLEM),
    ],
)
def test_what_waits(
    tmp_path: Path, spool: SpoolFile, payload_bytes: int, age_seconds: float, level: Level
) -> None:
    spool.append([entry(payload_bytes, age_seconds)])
    (found,) = look(tmp_path)
    assert found.level == level
    assert found.what.startswith("1 request with 10 samples wait for ")
    assert f"{payload_bytes} B ({payload_bytes // 10}% of its limit)" in found.what


def test_nobody_takes_it_out(tmp_path: Path, spool: SpoolFile) -> None:
    spool.append([entry(1)])
    (found,) = look(tmp_path, is_drained=False)
    assert found.level == Level.PROBLEM
    assert "no write side takes them out" in found.what
    assert found.todo == "start it: promgres ingest"


def test_what_was_refused(tmp_path: Path, spool: SpoolFile) -> None:
    spool.append([entry(1)])
    entries = spool.first(1)
    spool.remove(entries, [(entries[0], "value too wide", 3)])
    (found,) = look(tmp_path)
    assert found.level == Level.WARNING
    assert found.what == "the database refused 3 acknowledged samples"
    assert found.todo == "promgres spool rejected"


def test_a_damaged_spool(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / FILE).write_bytes(b"no database at all " * 100)
    (found,) = look(tmp_path)
    assert found.level == Level.PROBLEM
    assert "not a database" in found.what


ROOMY = {"disk_bytes_problem": 0, "disk_share_warning": 0.0, "disk_share_problem": 0.0}


@pytest.mark.parametrize(
    ("thresholds", "level"),
    [
        (ROOMY, "ok"),
        (ROOMY | {"disk_share_warning": 1.1}, "warning"),
        (ROOMY | {"disk_share_problem": 1.1}, "problem"),
        (ROOMY | {"disk_bytes_problem": 2**60}, "problem"),
    ],
)
def test_disks(tmp_path: Path, thresholds: dict[str, Any], level: str) -> None:
    (found,) = check_disk(site(tmp_path, **thresholds))
    assert found.level == level
    assert str(tmp_path) in found.what


def test_a_disk_that_cannot_hold_the_spool(tmp_path: Path) -> None:
    (found,) = check_disk(site(tmp_path, 2**60, **ROOMY))
    assert found.level == Level.WARNING
    assert "the spool may take" in found.what


def test_a_disk_without_inodes() -> None:
    with small_disk(20, inodes=100) as disk:
        (found,) = check_disk(site(disk.path, **ROOMY))
        assert found.level == Level.OK
        for number in range(93):
            (disk.path / f"file_{number}").touch()
        (found,) = check_disk(site(disk.path, **ROOMY))
        assert found.level == Level.WARNING
        assert f"of 100 inodes free at {disk.path}" in found.what
        with suppress(OSError):
            for number in range(93, 101):
                (disk.path / f"file_{number}").touch()
        (found,) = check_disk(site(disk.path, **ROOMY))
        assert found.level == Level.PROBLEM
        assert f"0 of 100 inodes free at {disk.path}" in found.what


def test_a_data_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    (found,) = check_disk(site(tmp_path / "a" / "b"))
    assert f"free at {tmp_path} (" in found.what
