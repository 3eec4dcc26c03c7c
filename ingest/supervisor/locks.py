"""One `up` a data directory, and none before the children of the last one have ended."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import OperatorError
from ingest.logs import get_logger

log = get_logger("up")

PARENT = "promgres.lock"
FAMILY = "children.lock"
POLL_SECONDS = 0.05


@contextmanager
def parent_lock(data_dir: Path) -> Iterator[None]:
    """Hold the data directory. The kernel lets go of it when this process ends, however it ends.

    Raises:
        OperatorError: another `promgres up` holds it.
    """
    descriptor = _open(data_dir / PARENT)
    try:
        if not _try(descriptor):
            raise OperatorError(
                f"another `promgres up`{_holder(descriptor)} uses the data directory {data_dir}:"
                " stop it, or choose another with --data-dir or PROMGRES_DATA_DIR"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def family_lock(data_dir: Path) -> Iterator[int]:
    """A descriptor that children inherit: its lock lasts until the last of them has ended."""
    descriptor = _open(data_dir / FAMILY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def wait_for_family(descriptor: int) -> None:
    """Take the family's lock; children of an `up` that was killed still hold it for a moment."""
    said = False
    while not _try(descriptor):
        if not said:
            log.warning("waiting for the children of a promgres that died to end")
            said = True
        await asyncio.sleep(POLL_SECONDS)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    """Who says that it holds the lock, as part of a message."""
    text = os.pread(descriptor, 20, 0).strip()
    return f" (pid {text.decode()})" if text.isdigit() else ""
