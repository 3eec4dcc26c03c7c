"""An event loop for tests of interleavings: its clock stands still until it is told to go on.

Nothing waits for real, so an hour of it takes a millisecond, and the same calls always give the
same order of events.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any


class _NothingComes(selectors.SelectSelector):
    """There is no network here: nothing ever becomes ready, and nobody waits for it."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs as far as it is asked to.

    Attributes:
        complaints: what asyncio would have logged: exceptions nobody looked at, and the like.
    """

    def __init__(self) -> None:
        super().__init__(_NothingComes())
        self._now = 1000.0
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        """The clock that `asyncio.timeout` and the like read."""
        return self._now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Do it in the next turn: between call, work and result others get theirs."""
        del executor
        future: asyncio.Future[Any] = self.create_future()
        self.call_soon(self._work, future, func, args)
        return future

    @property
    def idle(self) -> bool:
        """Whether nothing happens until time passes."""
        return not self._ready and not self._due(self._now)  # type: ignore[attr-defined]

    def turn(self, turns: int = 1) -> None:
        """Run what is ready now, so many times."""
        for _ in range(turns):
            self.call_soon(self.stop)
            self.run_forever()

    def run_until_idle(self, most_turns: int = 100_000) -> None:
        """Run until everybody waits for time to pass, or for something else that never comes."""
        for _ in range(most_turns):
            if self.idle:
                return
            self.turn()
        raise AssertionError(f"busy for {most_turns} turns")

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer goes off at its moment."""
        end = self._now + seconds
        self.run_until_idle()
        while due := self._due(end):
            self._now = max(self._now, min(due))
            self.run_until_idle()
        self._now = end

    def abandon(self) -> None:
        """Never run again: what a killed process leaves undone stays undone."""
        self.set_exception_handler(lambda _loop, _context: None)
        for task in asyncio.all_tasks(self):
            coroutine = task.get_coro()
            if coroutine is not None:
                with suppress(RuntimeError):  # it wants to await something on its way out
                    coroutine.close()
        self.close()

    def _due(self, until: float) -> list[float]:
        timers = self._scheduled  # type: ignore[attr-defined]
        return [timer.when() for timer in timers if not timer.cancelled() and timer.when() <= until]

    def _work(self, future: asyncio.Future[Any], func: Callable[..., Any], args: Any) -> None:
        try:
            result = func(*args)
        except Exception as error:
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)
