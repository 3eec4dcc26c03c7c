"""What a write side knew of its database, kept for the next one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ingest.known import FILE, Known, forget, recall, remember
from ingest.storage.urls import place_of

KNOWN = Known(
    "db:5432 /metrics",
    "7300000000000000000 16384",
    "postgres",
    ("manifest",),
    "0123abcd",
    {"internal": (365, 0), "cumsum": (None, 86_400_000)},
    '{"version": 3, "tenants": [], "keys": []}',
)


def test_it_is_what_was_kept(tmp_path: Path) -> None:
    remember(tmp_path, KNOWN)
    assert recall(tmp_path) == KNOWN
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    forget(tmp_path)
    assert recall(tmp_path) is None
    forget(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 99, "place": "x"}',
        '{"format":1,"horizons":3}',
    ],
)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert recall(tmp_path) is None


def test_what_the_disk_has_changed_is_not_known(tmp_path: Path) -> None:
    remember(tmp_path, KNOWN)
    text = (tmp_path / FILE).read_bytes()
    for at in range(len(text)):
        (tmp_path / FILE).write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])
        assert recall(tmp_path) is None
    (tmp_path / FILE).write_bytes(text)
    assert recall(tmp_path) == KNOWN


def test_only_a_file_of_the_folder_is_read(tmp_path: Path) -> None:
    """Root reads in a folder that is the write side's user's."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    remember(elsewhere, KNOWN)
    (tmp_path / FILE).symlink_to(elsewhere / FILE)
    assert recall(tmp_path) is None
    forget(tmp_path)
    os.mkfifo(tmp_path / FILE)
    assert recall(tmp_path) is None


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    assert not remember(tmp_path / "nowhere", KNOWN)
    assert recall(tmp_path / "nowhere") is None


def test_a_place_is_the_same_for_every_user_of_it() -> None:
    assert place_of("postgresql://a:secret@db:5432/metrics") == KNOWN.place
    assert place_of("postgresql://b@db:5432/metrics?application_name=x") == KNOWN.place
    assert place_of("postgresql://a@db:5432/other") != KNOWN.place
    assert place_of("postgresql://a@db:5433/metrics") != KNOWN.place
    assert place_of("postgresql://postgres@/postgres?host=/a&port=1") != place_of(
        "postgresql://postgres@/postgres?host=/b&port=1"
    )
