"""A disk that can be full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import public_directory

BLOCK_BYTES = 64 * 1024


class SmallDisk:
    """A file system of its own, in memory; see `small_disk`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave not one block."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (BLOCK_BYTES, 4096, 1):
                while _writes(ballast.fileno(), size):
                    pass

    def make_room(self) -> None:
        """As much as there was before."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(megabytes: int, inodes: int = 0) -> Iterator[SmallDisk]:
    """Mount one; without the right to do that the test skips.

    Args:
        inodes: how many files it can hold; 0: as many as fit.
    """
    with public_directory() as directory:
        command = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={megabytes}m,nr_inodes={inodes}",
            "none",
            str(directory),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"only root can mount a small disk: {done.stderr.strip()}")
        try:
            yield SmallDisk(directory)
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _writes(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, bytes(size)) > 0
    except OSError:
        return False
