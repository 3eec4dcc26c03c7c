"""Supervision of tasks: what ends or hangs is begun again, or ends the process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ingest import tasks
from ingest.tasks import ENDS, GOODBYE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_ENDS, Pulse, keep
from tests.support.metrics import gauge
from tests.support.virtual_loop import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.abandon()


class Worker:
    """Comes to a bad end a number of times, then works on."""

    def __init__(self, ends: int, error: BaseException) -> None:
        self.begun = 0
        self._ends = ends
        self._error = error

    async def __call__(self) -> None:
        self.begun += 1
        if self.begun <= self._ends:
            raise self._error
        await asyncio.Event().wait()


def no_giving_up(name: str) -> None:
    raise AssertionError(f"{name} is given up")


@pytest.mark.parametrize("error", [KeyError("x"), OSError("disk"), asyncio.CancelledError()])
def test_what_ends_is_counted_and_begun_again(loop: VirtualLoop, error: BaseException) -> None:
    worker, name = Worker(2, error), f"ends by {type(error).__name__}"
    kept = loop.create_task(keep(name, worker, give_up=no_giving_up))
    loop.run_until_idle()
    assert tasks.trouble() == f"task {name} ended"
    loop.advance(2 * LONGEST_PAUSE_SECONDS)
    assert worker.begun == 3
    assert gauge(ENDS.labels(name, "ended")) == 2
    assert tasks.trouble() is None
    assert not kept.done()


def test_what_is_not_needed_ends_nothing(loop: VirtualLoop) -> None:
    worker = Worker(3 * MOST_ENDS, OSError("no /proc"))
    kept = loop.create_task(keep("of use", worker, give_up=tasks.go_on))
    loop.advance(4 * MOST_ENDS * LONGEST_PAUSE_SECONDS)
    assert worker.begun == 3 * MOST_ENDS + 1
    assert not kept.done()


def test_what_returns_has_done_its_work(loop: VirtualLoop) -> None:
    async def work() -> None:
        await asyncio.sleep(1)

    kept = loop.create_task(keep("returns", work, give_up=no_giving_up))
    loop.advance(2)
    assert kept.done()
    assert kept.exception() is None


def test_who_is_asked_to_end_ends_its_work(loop: VirtualLoop) -> None:
    worker = Worker(0, KeyError())
    kept = loop.create_task(keep("asked", worker, give_up=no_giving_up))
    loop.run_until_idle()
    kept.cancel()
    loop.run_until_idle()
    assert kept.cancelled()
    assert not asyncio.all_tasks(loop)


def test_what_hangs_is_begun_again(loop: VirtualLoop) -> None:
    """But only while something is under way: to wait for work is no fault."""
    pulse = Pulse(60)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            await asyncio.sleep(1000)
            with pulse.busy():
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    loop.create_task(keep("hangs", work, [pulse], no_giving_up))
    loop.advance(1050)
    assert begun == 1
    loop.advance(60)
    assert begun == 2
    assert gauge(ENDS.labels("hangs", "hung")) == 1
    loop.advance(1000)
    assert begun == 2


def test_what_cannot_be_ended_is_given_up(loop: VirtualLoop) -> None:
    pulse = Pulse(60)
    given_up: list[str] = []

    async def work() -> None:
        with pulse.busy():
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue

    loop.create_task(keep("deaf", work, [pulse], given_up.append))
    loop.advance(70 + GOODBYE_SECONDS)
    assert given_up == ["deaf"]


def test_what_ends_again_and_again_is_given_up(loop: VirtualLoop) -> None:
    given_up: list[str] = []
    loop.create_task(keep("hopeless", Worker(MOST_ENDS, KeyError()), give_up=given_up.append))
    loop.advance(MOST_ENDS * LONGEST_PAUSE_SECONDS)
    assert given_up == ["hopeless"]


def test_what_ends_now_and_then_is_not(loop: VirtualLoop) -> None:
    async def work() -> None:
        await asyncio.sleep(100)
        raise KeyError

    loop.create_task(keep("now and then", work, give_up=no_giving_up))
    loop.advance(3 * MOST_ENDS * 100)
    assert gauge(ENDS.labels("now and then", "ended")) > MOST_ENDS


def test_giving_up_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    tasks.end_process("hopeless")
    assert statuses == [1]
