"""A reserve on the disk of the data directory: room that is given up when the disk fills.

A database that has stopped at a full disk cannot even recover there, and a spool cannot be emptied
where nothing may be written. What the reserve leaves is enough for that.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from prometheus_client import Gauge

from ingest.logs import get_logger
from ingest.metrics import REGISTRY

log = get_logger("disk")

FILE = "reserve"
LOOK_SECONDS = 1.0
PIECE_BYTES = 1024 * 1024
LEAST_SHARE = 8
"""It is given up when there is left but this part of it."""
MOST_SHARE = 4
"""It is made only where it takes at most this part of what is free."""

BYTES = Gauge(
    "promgres_disk_reserve_bytes",
    "Room in the data directory that is given up when its disk fills; 0: it is given up, or the"
    " disk is too small.",
    registry=REGISTRY,
)


class Reserve:
    """A file that takes up room.

    Args:
        size_bytes: 0 for none.
    """

    def __init__(self, data_dir: Path, size_bytes: int) -> None:
        self._path = data_dir / FILE
        self._size_bytes = size_bytes
        BYTES.set_function(lambda: self.held_bytes)

    async def keep(self) -> None:
        """Give it up, or make it again, whenever that is due.

        One thread looks all the time, since a disk may hang: to hand each look to one costs twice
        as much, in processes that else do nothing.
        """
        ended = threading.Event()

        def look_for_ever() -> None:
            while not ended.is_set():
                self.look()
                ended.wait(LOOK_SECONDS)

        try:
            await asyncio.to_thread(look_for_ever)
        finally:
            ended.set()

    def look(self) -> None:
        """Give it up, or make it, if that is due now."""
        try:
            there = os.statvfs(self._path.parent)
            free_bytes = there.f_bavail * there.f_frsize
            if self.held_bytes and free_bytes < self._size_bytes // LEAST_SHARE:
                self._path.unlink()
                log.warning("the disk is full: its reserve is given up", path=str(self._path))
            elif self.held_bytes and not self._size_bytes:
                self._path.unlink()
            elif not self.held_bytes and 0 < self._size_bytes * MOST_SHARE <= free_bytes:
                self._make()
                log.info("the disk has a reserve", path=str(self._path), bytes=self._size_bytes)
        except OSError as error:
            log.warning("no reserve on the disk", path=str(self._path), reason=error.strerror)

    @property
    def held_bytes(self) -> int:
        """What it takes up."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _make(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self._size_bytes)
            else:  # macOS
                for start in range(0, self._size_bytes, PIECE_BYTES):
                    os.write(descriptor, bytes(min(PIECE_BYTES, self._size_bytes - start)))
        except OSError:
            self._path.unlink()
            raise
        finally:
            os.close(descriptor)
