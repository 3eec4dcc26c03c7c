"""The spool's disk in tests: what a crash leaves of it, and how it fails."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ingest.writer.spool.file import FILE, FOLDER, Entry, SpoolFile
from tests.support.processes import SCRATCH


def fast_directory() -> Path:
    """A new directory, in memory where that may be."""
    return Path(tempfile.mkdtemp(prefix="promgres-spool-", dir=SCRATCH))


class Disk(SpoolFile):
    """A spool file whose disk can fail: before a write, or after it (an answer that got lost).

    Attributes:
        broken: every write fails.
    """

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.data_dir = data_dir
        self.broken = False
        self._closed = False

    def append(self, entries: Sequence[Entry]) -> None:
        self._write()
        super().append(entries)

    def probe(self) -> None:
        self._write()
        super().probe()

    def remove(self, entries: Sequence[Entry], refused: Sequence[tuple[Entry, str, int]]) -> None:
        self._write()
        super().remove(entries, refused)

    def set_aside(self, entry: Entry, samples: int, reason: str) -> None:
        self._write()
        super().set_aside(entry, samples, reason)

    def shrink(self) -> None:
        self._write()
        super().shrink()

    def close(self) -> None:
        """May be closed again: by the test, after the spool did."""
        if not self._closed:
            super().close()
        self._closed = True

    def fill(self) -> None:
        """No further page: SQLite itself says that the disk is full."""
        self._connection.execute("PRAGMA max_page_count = 1")  # it never goes below what is there

    def make_room(self) -> None:
        """There is room again."""
        self._connection.execute("PRAGMA max_page_count = 1000000")

    def _write(self) -> None:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")


def image(data_dir: Path) -> dict[str, bytes]:
    """The bytes of the database and of its log, as a crash would leave them."""
    folder = data_dir / FOLDER
    names = (FILE, f"{FILE}-wal")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def torn(before: dict[str, bytes], after: dict[str, bytes], share: float) -> dict[str, bytes]:
    """What a crash in the middle of a write leaves: a share of what it changed in the log.

    A log is written from front to back; where the database itself was changed as well (a
    checkpoint), the write was complete before.
    """
    log = f"{FILE}-wal"
    old, new = before.get(log, b""), after.get(log, b"")
    if before[FILE] != after[FILE] or old == new:
        return after
    first = next((at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]),
                 min(len(old), len(new)))  # fmt: skip
    cut = first + int((len(new) - first) * share)
    return after | {log: new[:cut] + old[cut:]}


def restore(files: dict[str, bytes]) -> Path:
    """A new data directory with these files."""
    data_dir = fast_directory()
    (data_dir / FOLDER).mkdir()
    for name, content in files.items():
        (data_dir / FOLDER / name).write_bytes(content)
    return data_dir


def discard(data_dir: Path) -> None:
    """Remove a data directory."""
    shutil.rmtree(data_dir, ignore_errors=True)
