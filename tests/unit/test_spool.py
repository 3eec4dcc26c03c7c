"""The spool's committer: nobody waits for ever, whatever its disk does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Unavailable
from ingest.writer.spool.file import Entry
from ingest.writer.spool.queue import FRESH_SECONDS, LONGEST_COMMIT_SECONDS, Spool
from tests.support.spool_disk import Disk
from tests.support.virtual_loop import VirtualLoop

ENTRY = Entry(0, 1_700_000_000_000, 1, 1, 1, 0, b"x")


class Loop(VirtualLoop):
    """Whose disk may never answer."""

    hangs = False

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        if self.hangs:
            return self.create_future()
        return super().run_in_executor(executor, func, *args)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.abandon()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.close()


def test_a_disk_that_hangs_is_given_up(loop: Loop, disk: Disk) -> None:
    """What waited hears of it; what comes when it answers again is taken."""
    spool = Spool(disk, 1000)
    loop.hangs = True
    first = loop.create_task(spool.append(ENTRY))
    loop.advance(LONGEST_COMMIT_SECONDS / 2)
    second = loop.create_task(spool.append(ENTRY))
    loop.advance(LONGEST_COMMIT_SECONDS)
    assert isinstance(first.exception(), Unavailable)
    assert not second.done()
    loop.hangs = False
    loop.advance(LONGEST_COMMIT_SECONDS + 10)
    third = loop.create_task(spool.append(ENTRY))
    loop.advance(1)
    assert third.done()
    assert third.exception() is None
    assert second.done()
    assert disk.standing().requests == (1 if second.exception() else 2)


def test_an_error_that_nobody_expects_leaves_nobody_waiting(
    loop: Loop, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(entries: object) -> None:
        raise SystemError("of the interpreter")

    spool = Spool(disk, 1000)
    monkeypatch.setattr(disk, "append", strike)
    refused = loop.create_task(spool.append(ENTRY))
    loop.advance(1)
    assert isinstance(refused.exception(), Unavailable)
    monkeypatch.undo()
    taken = loop.create_task(spool.append(ENTRY))
    loop.advance(1)
    assert taken.done()
    assert taken.exception() is None


def test_ready_is_what_the_disk_says(loop: Loop, disk: Disk) -> None:
    """Not what it said long ago, nor that there is room by our own count."""
    spool = Spool(disk, 1000)

    def is_ready() -> bool:
        asked = loop.create_task(spool.ready())
        loop.advance(5)
        return asked.result()

    assert is_ready()
    disk.broken = True
    assert not is_ready()
    disk.broken = False
    loop.create_task(spool.append(ENTRY))
    assert is_ready()
    disk.broken = True
    loop.advance(FRESH_SECONDS)
    assert not is_ready()
    disk.broken, loop.hangs = False, True
    assert not is_ready()
    loop.hangs = False
    assert is_ready()
    assert disk.standing().requests == 1
